"""What an existing database holds: how our tables differ from the models, and what else there is to be adopted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from sqlalchemy import Connection, func, inspect, select, table

from agentdb import migrating
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine.choice import serving
from agentdb.engine.schema.catalog import Description, Difference, compare, describe
from agentdb.engine.schema.direct import connected, telling
from agentdb.errors import NotFound, SchemaMismatch

_ENOUGH: Final = 0.5  # of a table's telling columns, to be called like one of ours
_COMMON: Final = {"id", "uuid", "created_at", "updated_at", "version", "deleted_at"}  # tell nothing

State = Literal["equal", "different", "missing"]


@dataclass(frozen=True, slots=True)
class OurTable:
    """A table that the models have."""

    name: str
    state: State
    missing: Sequence[Difference]  # what the models have more: migrations make it
    extra: Sequence[Difference]  # what the database has more: the models could adopt it
    changed: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class OtherTable:
    """A table that the models know nothing of."""

    name: str
    rows: int
    columns: Mapping[str, str]  # their definitions, as the database tells them
    like: str | None  # which of our tables has most of its columns
    shared: Sequence[str]
    lacking: Sequence[str]  # columns that one has, and must be given


@dataclass(frozen=True, slots=True)
class Pulled:
    """A database beside the models."""

    revision: str | None
    expected: str
    tables: Sequence[OurTable]
    others: Sequence[OtherTable]
    advice: Sequence[str]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs, tables of others aside."""
        return self.revision == self.expected and all(own.state == "equal" for own in self.tables)


async def pull(settings: Settings) -> Pulled:
    """Describe an existing database beside the models, and change nothing.

    Raises: NotFound when there is no such file; BadSettings where the models cannot be built to compare with.
    Cost: the models' schema built where nobody sees it, and a count of the rows of each table of others.
    """
    file = settings.target.path
    if file is not None and not file.exists():
        raise NotFound(f"there is no database file {file}")
    try:
        version = await migrating.current(settings)
    except SchemaMismatch:  # there is a table for it, and nothing in it
        version = None
    revision, expected = None if version is None else version.revision, f"{migrating.head():04}"
    async with serving(settings) as served, connected(served) as connection:
        with telling("describing the database"):
            return await connection.run_sync(partial(_pull, revision=revision, expected=expected))


def _pull(connection: Connection, *, revision: str | None, expected: str) -> Pulled:
    live, looked = describe(connection), inspect(connection)
    names = set(looked.get_table_names())
    foreign = names - Entity.metadata.tables.keys()
    counts = {name: connection.scalar(select(func.count()).select_from(table(name))) or 0 for name in foreign}
    # Where nothing was migrated, what the models build upon may be missing too.
    models = None if revision is None else migrating.describe_models(connection)
    models = models or migrating.describe_history(connection)
    ours = [_ours(name, name in names, live, models) for name in sorted(Entity.metadata.tables)]
    columns = _columns(live)
    others = [
        _other(name, counts[name], {own["name"]: columns[name][own["name"]] for own in looked.get_columns(name)})
        for name in sorted(foreign & columns.keys())
    ]
    return Pulled(revision, expected, ours, others, _advice(revision, expected, ours, others))


def _ours(name: str, there: bool, live: Description, models: Description) -> OurTable:
    if not there:
        return OurTable(name, "missing", (), (), ())
    found = compare(_of(name, live), _of(name, models), within="the database")
    return OurTable(
        name,
        "different" if found else "equal",
        [difference for difference in found if difference.found is None],
        [difference for difference in found if difference.expected is None],
        [difference for difference in found if difference.found is not None and difference.expected is not None],
    )


def _of(name: str, description: Description) -> Description:
    """Return what a description tells of one table."""
    return {
        place: definition
        for place, definition in description.items()
        if place.partition(" ")[2].partition(".")[0] == name
    }


def _columns(description: Description) -> dict[str, dict[str, str]]:
    """Return the columns of each table, and their definitions."""
    columns: dict[str, dict[str, str]] = defaultdict(dict)
    for place, definition in description.items():
        kind, _, rest = place.partition(" ")
        if kind == "column":
            name, _, own = rest.partition(".")
            columns[name][own] = definition
    return columns


def _other(name: str, rows: int, columns: Mapping[str, str]) -> OtherTable:
    like = max(sorted(Entity.metadata.tables), key=lambda ours: _likeness(columns, ours))
    if _likeness(columns, like) < _ENOUGH:
        return OtherTable(name, rows, columns, None, (), ())
    declared = Entity.metadata.tables[like].columns
    needed = [
        own.name
        for own in declared
        if not own.nullable and own.default is None and own.server_default is None and own.identity is None
    ]
    return OtherTable(
        name,
        rows,
        columns,
        like,
        [own for own in columns if own in declared],
        [own for own in needed if own not in columns],
    )


def _likeness(columns: Mapping[str, str], ours: str) -> float:
    """Return which share of the columns that tell something the tables have in common, of the smaller of the two."""
    theirs, own = columns.keys() - _COMMON, Entity.metadata.tables[ours].columns.keys()
    known = set(own) - _COMMON
    return len(theirs & known) / min(len(theirs), len(known)) if len(theirs & known) > 1 else 0.0


def _advice(revision: str | None, expected: str, ours: Sequence[OurTable], others: Sequence[OtherTable]) -> list[str]:
    states = {own.state for own in ours}
    advice: list[str] = []
    if revision is None and states == {"missing"}:
        advice.append("there is no table of agentdb yet; `agentdb migrate` makes them beside what is there")
    elif revision is None and states == {"equal"}:
        advice.append("every table is as the models have it; `agentdb stamp head` adopts the database as it is")
    elif revision is None and "different" not in states:
        advice.append(
            "the tables that are there are as the models have them; `agentdb push` adds those that are missing"
        )
    elif revision is None:
        there = ", ".join(own.name for own in ours if own.state == "different")
        advice.append(
            f"tables have names that agentdb needs ({there}); rename them, run `agentdb migrate`, and copy"
            " their rows, or choose another schema by ?schema= in the URL"
        )
    elif revision != expected:
        advice.append(f"the schema is at {revision}, and this code expects {expected}; run `agentdb migrate`")
    elif "missing" in states or any(own.missing or own.changed for own in ours):
        advice.append("what is missing or changed was made by no migration; restore a backup, or `agentdb reset`")
    if any(own.extra for own in ours):
        advice.append("what the database has more could be adopted: declare it in the models, and `agentdb revision`")
    advice += [
        f"{other.name} is like {other.like}: {len(other.shared)} columns are the same"
        + (f", and {', '.join(other.lacking)} must be given" if other.lacking else "")
        for other in others
        if other.like is not None
    ]
    return advice
