"""Seed files held against the database, within a script: which rows are there, and which rows others refer to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, select

from agentdb.base import Entity
from agentdb.criteria import table_of
from agentdb.engine.blobs import SecretType
from agentdb.engine.connection import Script, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.keyring import Keyring
from agentdb.seeding.grammar import Place
from agentdb.seeding.problems import Problems
from agentdb.seeding.reading import Named, SeedRow, Sheet
from agentdb.seeding.tables import BY_NAME, Key, SeedTable, target_of

_TOP: Final = Place(1, 1)


class Planned:
    """A row of a file, with the row of the database it is.

    Attributes:
        present: the row that is there, or None for a new one.
        id: the row's id; None until the database gives one.
        values: by column; a reference to a row without an id yet is that row.
    """

    __slots__ = ("id", "present", "row", "values")

    def __init__(self, row: SeedRow, present: Any) -> None:
        self.row = row
        self.present = present
        self.id: int | None = present.id if present is not None else row.values.get("id")
        self.values: dict[str, Any] = dict(row.values)


@cache
def _rows_among(model: type[Entity], name: str) -> Plan[Any]:
    column = table_of(model).c[name]
    return Plan(select(model).where(among(column, "wanted")), name=f"seed: {model.__tablename__} by {name}", rows=model)


def held(present: Any, column: str) -> Any:
    """Return what a row of the database has in a column."""
    mapper = type(present).__mapper__
    return getattr(present, mapper.get_property_by_column(mapper.local_table.c[column]).key)


class Planner:
    """Finds out what becomes of each row; what cannot be is a problem.

    Args:
        sheets: the files.
        problems: those found so far, and where more are added.
        keyring: what is to seal secrets.
    """

    def __init__(self, sheets: Sequence[Sheet], problems: Problems, keyring: Keyring) -> None:
        self._sheets = sheets
        self._problems = problems
        self._sealing = keyring.ready
        self._known_ids: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        self._known_keys: defaultdict[str, dict[Key, Any]] = defaultdict(dict)
        self._own_ids: defaultdict[str, dict[int, Planned]] = defaultdict(dict)
        self._own_keys: defaultdict[str, dict[Key, Planned]] = defaultdict(dict)

    def plan(self) -> Script[list[tuple[Sheet, list[Planned]]]]:
        """Return what is planned for each sheet's rows."""
        yield from self._look_up(self._wanted_ids(), self._wanted_keys())
        planned: dict[Sheet, list[Planned]] = {}
        for sheet in self._sheets:
            if not _of_references(sheet.table):
                planned[sheet] = [row for row in self._rows(sheet, sheet.rows) if row is not None]
        for sheet, rows in planned.items():
            for row in rows:
                self._resolve(sheet, row.row, row.values)
        for sheet in self._sheets:
            if _of_references(sheet.table):
                planned[sheet] = yield from self._links(sheet)
        for sheet, rows in planned.items():
            self._check(sheet, rows)
        return [(sheet, planned[sheet]) for sheet in self._sheets]

    # What the files speak of

    def _wanted_ids(self) -> dict[str, set[int]]:
        wanted: defaultdict[str, set[int]] = defaultdict(set)
        for sheet in self._sheets:
            targets = {name: target_of(column) for name, column in sheet.table.columns().items()}
            targets["id"] = sheet.table.name
            for row in sheet.rows:
                for name, value in row.values.items():
                    if isinstance(value, int) and (target := targets.get(name)) in BY_NAME:
                        wanted[str(target)].add(value)
        return wanted

    def _wanted_keys(self) -> dict[str, set[Key]]:
        wanted: defaultdict[str, set[Key]] = defaultdict(set)
        for sheet in self._sheets:
            for row in sheet.rows:
                key = _key_of(sheet.table, row.values)
                if key is not None and not _of_references(sheet.table):
                    wanted[sheet.table.name].add(key)
                for value in row.values.values():
                    if isinstance(value, Named):
                        wanted[value.table].add(value.key)
        return wanted

    def _look_up(self, ids: Mapping[str, set[int]], keys: Mapping[str, set[Key]]) -> Script[None]:
        for name, table in BY_NAME.items():
            if ids.get(name):
                rows = yield from every(_rows_among(table.model, "id"), wanted=sorted(ids[name]))
                self._known_ids[name] |= {row.id: row for row in rows}
            if keys.get(name):
                firsts = list(dict.fromkeys(key[0] for key in keys[name]))
                rows = yield from every(_rows_among(table.model, table.key[0]), wanted=firsts)
                self._known_keys[name] |= {tuple(held(row, part) for part in table.key): row for row in rows}

    # What each row is

    def _rows(self, sheet: Sheet, rows: Sequence[SeedRow]) -> Iterator[Planned | None]:
        unknown = False
        for row in rows:
            key = _key_of(sheet.table, row.values)
            if key is None and row.values.get("id") is None:
                # A value that is no good was told where it stands.
                unknown |= not any(name in row.places for name in ("id", *_named_by(sheet.table)))
                continue
            yield self._row(sheet, row, key)
        if unknown:
            told = " and ".join(_named_by(sheet.table))
            self._problems.add(sheet.file, _TOP, f"rows of {sheet.table.name} are known by id or by {told}; add either")

    def _row(self, sheet: Sheet, row: SeedRow, key: Key | None) -> Planned | None:
        name, id_ = sheet.table.name, row.values.get("id")
        twin = self._own_ids[name].get(id_) if id_ is not None else None
        if twin is None and key is not None:
            twin = self._own_keys[name].get(key)
        if twin is not None:
            self._problem(sheet, row, f"the row of line {twin.row.line} is the same; leave one")
            return None
        same_key = self._known_keys[name].get(key) if key is not None else None
        if id_ is None:
            planned = Planned(row, same_key)
        else:
            if same_key is not None and same_key.id != id_:
                self._problem(sheet, row, f"this row is {same_key.id} in the database, not {id_}; leave its id out")
                return None
            planned = Planned(row, self._known_ids[name].get(id_))
        if planned.id is not None:
            self._own_ids[name][planned.id] = planned
        if key is not None:
            self._own_keys[name][key] = planned
        return planned

    def _links(self, sheet: Sheet) -> Script[list[Planned]]:
        """Return the rows of a table that are known by the rows they join: those are found first."""
        resolved = []
        for row in sheet.rows:
            values = dict(row.values)
            self._resolve(sheet, row, values)
            resolved.append(SeedRow(values, row.places, row.line))
        keys = {key for row in resolved if (key := _key_of(sheet.table, row.values)) is not None}
        settled = {key for key in keys if all(isinstance(part, int) for part in key)}
        yield from self._look_up({}, {sheet.table.name: settled})
        return [row for row in self._rows(sheet, resolved) if row is not None]

    def _resolve(self, sheet: Sheet, row: SeedRow, values: dict[str, Any]) -> None:
        """Put ids in the place of names, and see that ids are there."""
        columns = sheet.table.columns()
        for name, value in list(values.items()):
            target = target_of(columns[name]) if name in columns else None
            if target not in BY_NAME or value is None:
                continue
            if isinstance(value, Named):
                found = self._own_keys[target].get(value.key) or self._known_keys[target].get(value.key)
                told = repr(value.text[:80])
            else:
                found = self._own_ids[target].get(value) or self._known_ids[target].get(value)
                told = str(value)
            if found is None:
                del values[name]
                message = f"there is no row {told} in {target}, neither in the files nor in the database"
                self._problems.add(sheet.file, row.at(name), message)
            else:
                values[name] = found if found.id is None else found.id

    # What a row needs

    def _check(self, sheet: Sheet, rows: Sequence[Planned]) -> None:
        missing = [name for name in sheet.table.required() if name not in sheet.columns]
        if missing and any(row.present is None for row in rows):
            self._problems.add(sheet.file, _TOP, f"new rows of {sheet.table.name} need {', '.join(missing)}")
        if self._sealing:
            return
        for name in secrets_of(sheet.table):
            for row in rows:
                if row.values.get(name) is not None:
                    message = f"{name} cannot be stored: AGENTDB_ENCRYPTION_KEYS is not set; see `agentdb keys new`"
                    self._problems.add(sheet.file, row.row.at(name), message)

    def _problem(self, sheet: Sheet, row: SeedRow, message: str) -> None:
        self._problems.add(sheet.file, row.at("id", *sheet.table.key, "name"), message)


def secrets_of(table: SeedTable) -> list[str]:
    """Return the columns of a table that hold secrets."""
    return [name for name, column in table.columns().items() if isinstance(column.type, SecretType)]


def _of_references(table: SeedTable) -> bool:
    """Tell whether the rows of a table are known by the rows they join."""
    columns: Mapping[str, Column[Any]] = table.columns()
    return all(target_of(columns[name]) is not None for name in table.key)


def _named_by(table: SeedTable) -> tuple[str, ...]:
    """Return what a file's author writes to name a row: the uuid of an agent is made of its name."""
    return ("name",) if table.key == ("uuid",) else table.key


def _key_of(table: SeedTable, values: Mapping[str, Any]) -> Key | None:
    """Return what a row is known by, when all of it is given."""
    if any(values.get(name) is None for name in table.key):
        return None
    return tuple(values[name] for name in table.key)
