"""Seed files written, within a script: new rows, changed rows, and references to rows that came later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, insert, select, update

from agentdb.base import Entity
from agentdb.catalog.customs import CONTENT, plain
from agentdb.catalog.models import AIModel, ModelType, Prompt
from agentdb.catalog.prompts import used
from agentdb.criteria import table_of, update_plan
from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Script, count, each, every
from agentdb.engine.numbering import ids_go_on
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import DecryptionFailed
from agentdb.keyring import Keyring
from agentdb.seeding.planning import Planned, held, secrets_of
from agentdb.seeding.reading import Sheet
from agentdb.types import uuid7

_models: Final[Table] = table_of(AIModel)
_DEFAULTS: Final = Plan[ModelType](
    select(_models.c.type).where(_models.c.is_default).order_by(_models.c.type), name="seed: default models"
)


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of the rows of one file.

    Attributes:
        kept: rows the installation has made its own, or that must stay: custom models, and prompts that agents have.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    kept: int = 0


@cache
def _insert_with_id(model: type[Entity]) -> Plan[int]:
    table = table_of(model)
    return Plan(
        insert(table).returning(table.c.id),
        name=f"seed: {table.name} with ids",
        columns=["id", *(column.key for column in bound_columns(table))],
    )


@cache
def _ids_go_on(model: type[Entity]) -> Plan[None]:
    return Plan(ids_go_on(table_of(model)), name=f"seed: ids of {model.__tablename__}")


@cache
def _set_reference(model: type[Entity], name: str) -> Plan[None]:
    """Return the plan that sets a reference to a row that was not there yet: the row has not changed by it."""
    table = table_of(model)
    same = {own.name: own for own in table.columns if own.onupdate is not None}
    statement = update(table).where(table.c.id == of(table.c.id, "row_id"))
    return Plan(statement.values({name: of(table.c[name], "refers"), **same}), name=f"seed: {table.name}.{name}")


class Writer:
    """Writes planned rows, table after table, and remembers the references that must wait.

    Args: keyring: what seals secrets.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._waiting: list[tuple[type[Entity], str, Planned, Planned]] = []

    def write(self, sheet: Sheet, rows: Sequence[Planned]) -> Script[TableReport]:
        """Write the rows of a sheet."""
        new = [row for row in rows if row.present is None]
        yield from self._add(sheet, new)
        changed, unchanged, kept = yield from self._change(sheet, [row for row in rows if row.present is not None])
        return TableReport(len(new), changed, unchanged, kept)

    def finish(self) -> Script[None]:
        """Set the references that had to wait for their rows."""
        for model, name, row, target in self._waiting:
            yield from count(_set_reference(model, name), row_id=row.id, refers=target.id)

    def _add(self, sheet: Sheet, rows: Sequence[Planned]) -> Script[None]:
        model = sheet.table.model
        values = [self._values(sheet, row, sheet.columns | row.values.keys()) for row in rows]
        if model is AIModel:
            yield from _without_second_defaults(values)
        numbered = [given for given in values if given.get("id") is not None]
        yield from each(_insert_with_id(model), numbered)
        if numbered:
            yield from count(_ids_go_on(model))
        others = [(row, given) for row, given in zip(rows, values, strict=True) if given.get("id") is None]
        plain_values = [{name: value for name, value in given.items() if name != "id"} for _, given in others]
        made = yield from each(insert_one(model), plain_values)
        for (row, _), stored in zip(others, made, strict=True):
            row.id = held(stored, "id")

    def _change(self, sheet: Sheet, rows: Sequence[Planned]) -> Script[tuple[int, int, int]]:
        model, unchanged, kept = sheet.table.model, 0, 0
        changes: list[dict[str, Any]] = []
        overwritten = sorted(name for name in sheet.table.overwrites if name in sheet.columns)
        folded = [name for row in rows[:1] for name in row.values if name.removesuffix("_folded") in overwritten]
        names = sorted({*overwritten, *folded})
        for row in rows:
            given = self._values(sheet, row, frozenset(names))
            different = {name for name in given if self._differs(row, name, given[name])}
            if model is AIModel and row.present.is_custom:
                kept += 1
                yield from _refresh(row.present, given)
            elif not different:
                unchanged += 1
            elif model is Prompt and (yield from used(row.present.id)):
                kept += 1
            else:
                changes.append({**{name: held(row.present, name) for name in names}, **given, "key_id": row.id})
        if changes:
            yield from each(update_plan(model, frozenset(names), versioned=False), changes)
        return len(changes), unchanged, kept

    def _values(self, sheet: Sheet, row: Planned, names: frozenset[str]) -> dict[str, Any]:
        """Return what is stored of a row: secrets sealed, and of references those whose row is there."""
        values = {name: value for name, value in row.values.items() if name in names}
        for name, value in list(values.items()):
            if isinstance(value, Planned):
                values[name] = value.id
                if value.id is None:
                    self._waiting.append((sheet.table.model, name, row, value))
                    if row.present is not None:
                        del values[name]  # it keeps the one it has until then
        for name in secrets_of(sheet.table):
            if values.get(name) is not None:
                values[name] = self._sealed(sheet.table.name, name, row, values)
            elif row.present is not None:
                values.pop(name, None)  # a variable that is not set takes no key away
        return values

    def _sealed(self, table: str, column: str, row: Planned, values: dict[str, Any]) -> bytes:
        secret = values[column]
        if row.present is None:
            uuid: UUID = values.setdefault("uuid", uuid7())
        else:
            uuid, stored = row.present.uuid, held(row.present, column)
            if stored is not None and self._opened(stored, table, column, uuid) == secret:
                return bytes(stored)
        return self._keyring.seal(secret, table=table, column=column, row=uuid)

    def _opened(self, sealed: bytes, table: str, column: str, uuid: UUID) -> Any:
        try:
            return self._keyring.open(sealed, table=table, column=column, row=uuid)
        except DecryptionFailed:
            return None

    @staticmethod
    def _differs(row: Planned, name: str, value: Any) -> bool:
        return bool(held(row.present, name) != value)


def _without_second_defaults(rows: Sequence[dict[str, Any]]) -> Script[None]:
    """Let new models be the default of their type only where there is none: that is the installation's choice."""
    taken = {str(kind) for kind in (yield from every(_DEFAULTS))}
    for values in rows:
        if values.get("is_default"):
            values["is_default"] = str(values["type"]) not in taken
            taken.add(str(values["type"]))


def _refresh(model: AIModel, given: Mapping[str, Any]) -> Script[None]:
    """Leave a custom model as it is, but for what it becomes when it is custom no more."""
    shipped = dict(model.shipped or {}) if isinstance(model.shipped, Mapping | None) else {}
    shipped |= plain({name: value for name, value in given.items() if name in CONTENT})
    changes: dict[str, Any] = {"shipped": shipped, "is_builtin": bool(given.get("is_builtin", model.is_builtin))}
    if changes["is_builtin"] and (shipped != model.shipped or not model.is_builtin):
        plan = update_plan(AIModel, frozenset(changes), versioned=False)
        yield from count(plan, **changes, key_id=model.id)
