"""What every table can do, as one user does it with another's rows: by reflection, whatever the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm.attributes import instance_state

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.columns import generated
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.engine.violations import uniques
from agentdb.errors import AgentDBError, Conflict
from agentdb.owners import Fixed
from agentdb.repository import Repository
from agentdb.tenants import paths
from tests.tenants.test_walk import CALLS, REPOSITORIES
from tests.tenants.walking import belongings, is_nothing, result_of
from tests.tenants.worlds import Person, World, make_world

GENERIC = {path: repository for path, repository in REPOSITORIES.items() if issubclass(repository, Repository)}
UNIQUE_ANYWHERE = {"uuid", "public_id"}


async def rows_of(db: Database, model: type[Entity], person: Person) -> list[Any]:
    """Return a person's own rows of a table."""
    rows = await db.as_user(person.id).supervisor.connection.fetch_all(rows_plan(model), {})
    everybodys = {getattr(row, "user_id", None) for row in rows if "user_id" in table_of(model).c}
    return [row for row in rows if everybodys in ({None}, set()) or row.user_id is not None]


@cache
def rows_plan(model: type[Entity]) -> Plan[Any]:
    """Return the plan that reads a whole table: it is compiled once."""
    return Plan[Any](select(model), name="rows", rows=model)


def table_of(model: type[Entity]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def values_of(row: Any) -> dict[str, Any]:
    """Return a row's values as another row of the same owner would have them."""
    table = table_of(type(row))
    left_out = {column.key for column in table.c if generated(column) or "clock" in column.info} | UNIQUE_ANYWHERE
    alone = {columns[0].key for _, columns in uniques(table) if len(columns) == 1}
    return {
        key: f"{value} again" if key in alone and isinstance(value, str) else value
        for key, value in instance_state(row).dict.items()
        if key in table.c and key not in left_out
    }


def calls(repository: Any, row: Any) -> dict[str, Callable[[], Any]]:
    """Return the generic calls that name a row."""
    table = table_of(type(row))
    key = {column.key: getattr(row, column.key) for column in table.primary_key}
    values = values_of(row)
    changes = {name: value for name, value in values.items() if name not in key and name not in {"version", "tx"}}
    together = [[column.key for column in columns] for _, columns in uniques(table) if not columns[0].primary_key]
    on = together[0] if together else list(key)
    return {
        "find": lambda: repository.find(*key.values()),
        "get": lambda: repository.get(*key.values()),
        "exists": lambda: repository.exists(**key),
        "count": lambda: repository.count(**key),
        "page": lambda: repository.page(**key),
        "stream": lambda: repository.stream(**key),
        "update": lambda: repository.update(*key.values(), **changes),
        "add": lambda: repository.add(**values),
        "add_many": lambda: repository.add_many([values]),
        "upsert": lambda: repository.upsert(on=on, **{**{name: getattr(row, name) for name in on}, **changes}),
        "remove": lambda: repository.remove(*key.values()),
    }


async def problem_of(made: Callable[[], Any], *, conflicting: bool = False) -> str | None:
    try:
        result = await result_of(made())
    except Conflict as error:
        return None if conflicting else f"tells of a row that is there: {error}"
    except (AgentDBError, TypeError):
        return None
    return None if is_nothing(result) else f"answered {result!r}"


async def problems_of(db: Database, world: World, path: str) -> list[str]:
    """Return what is wrong with the generic calls of one repository."""
    aggregate, noun = path.split(".")
    model = GENERIC[path].model
    owner = paths()[table_of(model).name]
    repository = getattr(getattr(db.as_user(world.adam.id), aggregate), noun)
    reading = {"find", "get", "exists", "count", "page", "stream"}
    named: list[Any]
    if isinstance(owner, Fixed):
        named = await getattr(getattr(db, aggregate), noun).connection.fetch_all(rows_plan(model), {})
    else:
        named = await rows_of(db, model, world.bertha)
        assert named, f"bertha owns nothing in {model.__tablename__}; give her something"
    found = []
    for row in named[:2]:
        for name, made in calls(repository, row).items():
            readable = isinstance(owner, Fixed) and owner.readable and name in reading
            if readable or name in CALLS.get(path, ()):
                continue
            problem = await problem_of(made)
            if problem:
                found.append(f"{path}.{name} of {row!r}: {problem}")
    return found


async def test_no_table_gives_another_users_rows(db: Database) -> None:
    world = await make_world(db)
    before = await belongings(db, world.bertha)

    problems = [problem for path in GENERIC for problem in await problems_of(db, world, path)]

    assert not problems, "\n".join(problems)
    assert await belongings(db, world.bertha) == before


def _mixed(own: Any, others: Any) -> list[dict[str, Any]]:
    """Return the values of one's own row, each time with one reference of another's."""
    values, strange = values_of(own), values_of(others)
    theirs = [
        column.key
        for column in table_of(type(own)).c
        if column.foreign_keys and values.get(column.key) != strange.get(column.key)
    ]
    return [{**values, name: strange[name]} for name in theirs]


def _mixed_calls(connection: Connection, own: Any, others: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what would store such a row, whatever its own repository refuses."""
    kind = type("Rows", (Repository,), {"model": type(own)})
    repository = kind(connection)
    key = [getattr(own, column.key) for column in table_of(type(own)).primary_key]
    for values in _mixed(own, others):
        changes = {name: value for name, value in values.items() if name not in {"version", "tx"}}
        yield "add", partial(repository.add, **values)
        yield "add_many", partial(repository.add_many, [values])
        yield "update", partial(repository.update, *key, **changes)


async def test_no_row_of_ones_own_refers_to_another_users(db: Database) -> None:
    world = await make_world(db)
    before = await belongings(db, world.bertha), await belongings(db, world.adam)
    scoped = db.as_user(world.adam.id).supervisor.connection
    told = []

    for path, kind in GENERIC.items():
        if isinstance(paths()[table_of(kind.model).name], Fixed):
            continue
        (own, *_), (others, *_) = [await rows_of(db, kind.model, who) for who in (world.adam, world.bertha)]
        for call, made in _mixed_calls(scoped, own, others):
            problem = await problem_of(made, conflicting=True)  # with one's own row, of which this is a copy
            if problem:
                told.append(f"{path}.{call}: {problem}")

    assert not told, "\n".join(told)
    assert (await belongings(db, world.bertha), await belongings(db, world.adam)) == before
