"""Calling every method of every repository as one user, and judging what comes of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from typing import Any, get_type_hints

from sqlalchemy import Table, select

from agentdb.aggregates import Aggregates
from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError, MissingReference, NotFound
from agentdb.owners import Fixed
from agentdb.page import Page
from agentdb.repository import Repository
from agentdb.tenants import Tenant, paths
from tests.tenants.worlds import Person, World

MISSING = (NotFound, MissingReference)
GENERIC = frozenset(name for name, _ in inspect.getmembers(Repository, inspect.isfunction) if not name.startswith("_"))
A_MOMENT = 0.3  # in which a follower would find what there is


@dataclass(frozen=True)
class Call:
    """How a method is called with what is a person's.

    Args:
        make: makes the call, on the scoped database, with a person's things.
        own: what it raises for one's own things, where it is not for users at all, or they are not of that kind.
        may: what it may raise for anybody's, since not every database has what it is about.
        theirs: what it may raise for another's things besides NotFound and MissingReference.
        nothing: tells whether an answer tells nothing of another.
        alone: it opens transactions of its own, and is not called in a unit.
        of_nobody: it names nobody, and answers of the caller's own.
    """

    make: Callable[[Any, Person], Any]
    own: type[AgentDBError] | None = None
    may: tuple[type[AgentDBError], ...] = ()
    theirs: tuple[type[AgentDBError], ...] = ()
    nothing: Callable[[Any], bool] | None = None
    alone: bool = False
    of_nobody: bool = False


class _Undone(Exception):
    """Rolls a unit back."""


def repositories() -> Iterator[tuple[str, type[Any]]]:
    """Yield every repository by its path, such as ``hub.runs``."""
    for aggregate, whole in _properties(Aggregates):
        for noun, repository in _properties(whole):
            yield f"{aggregate}.{noun}", repository


def _properties(owner: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    for name, found in inspect.getmembers(owner, lambda member: isinstance(member, cached_property)):
        yield name, get_type_hints(found.func)["return"]


def methods(repository: type[Any]) -> set[str]:
    """Return the public methods of a repository, but for those that `generic` calls."""
    found = {name for name, _ in inspect.getmembers(repository, inspect.isfunction) if not name.startswith("_")}
    return found - GENERIC if issubclass(repository, Repository) else found


async def result_of(made: Any) -> Any:
    """Return what a call answers; of a stream, what comes in a moment."""
    if inspect.isawaitable(made):
        return await made
    if not isinstance(made, AsyncIterator):
        return made
    seen: list[Any] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(A_MOMENT):
            async for item in made:
                seen.append(item)  # noqa: PERF401 (what came before the time was up is kept)
    await made.aclose()  # type: ignore[attr-defined]
    return seen


def is_nothing(result: Any) -> bool:
    """Tell whether an answer says nothing."""
    if isinstance(result, Page):
        return not result.items
    if is_dataclass(result) and not isinstance(result, type):
        return all(is_nothing(getattr(result, part.name)) for part in fields(result))
    return not result


def shown(result: Any) -> str:
    """Return everything an answer shows."""
    if isinstance(result, Page):
        return shown(result.items)
    if isinstance(result, Mapping):
        return shown([*result.keys(), *result.values()])
    if isinstance(result, list | tuple | set | frozenset):
        return " ".join(map(shown, result))
    if isinstance(result, Entity):
        return shown([getattr(result, column.key) for column in result.__mapper__.column_attrs])
    if is_dataclass(result) and not isinstance(result, type):
        return shown([getattr(result, part.name) for part in fields(result)])
    return str(result)


async def belongings(db: Database, person: Person) -> dict[str, list[str]]:
    """Return all that a person sees of every table, and all rows that are nobody's."""
    held: dict[str, list[str]] = {}
    within = db.as_user(person.id).supervisor.connection
    for name, path in paths().items():
        if name == "audit_log":  # tells of what the caller did
            continue
        connection = db.supervisor.connection if isinstance(path, Fixed) else within
        held[name] = sorted(str(row.values) for row in await connection.fetch_all(_all_of(name), {}))
    return held


@cache
def _all_of(name: str) -> Plan[Any]:
    """Return the plan that reads a whole table: it is compiled once."""
    table: Table = Entity.metadata.tables[name]
    plan = Plan[Any](select(*(column.label(f"c{place}") for place, column in enumerate(table.c))), name="all")
    plan.rows = _Row
    return plan


class _Row:
    """A row of any table."""

    def __init__(self, *values: Any) -> None:
        self.values = values


async def walk(db: Database, world: World, calls: Mapping[str, Mapping[str, Call]]) -> list[str]:
    """Call all methods of some repositories as adam, and return what is wrong."""
    problems, before = [], await belongings(db, world.bertha)
    for path, called in calls.items():
        problems += await _walk_one(db, world, called, path)
        after = await belongings(db, world.bertha)
        problems += [f"{path}: another's {table} changed" for table in before if before[table] != after[table]]
        before = after
    return problems


async def _walk_one(db: Database, world: World, calls: Mapping[str, Call], path: str) -> list[str]:
    aggregate, noun = path.split(".")
    as_adam = db.as_user(world.adam.id)
    theirs = {
        name: await _theirs(getattr(getattr(as_adam, aggregate), noun), call, world.bertha)
        for name, call in calls.items()
        if not call.of_nobody
    }
    own = {name: await _own(as_adam, aggregate, noun, call, world) for name, call in calls.items()}
    return [
        *(f"{path}.{name}, with another's: {problem}" for name, problem in theirs.items() if problem),
        *(f"{path}.{name}, with one's own: {problem}" for name, problem in own.items() if problem),
    ]


async def _theirs(repository: Any, call: Call, bertha: Person) -> str | None:
    try:
        result = await result_of(call.make(repository, bertha))
    except AgentDBError as error:
        told = isinstance(error, (*MISSING, *call.theirs, *call.may))
        return None if told else f"raised {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 (told by the test)
        return f"raised {type(error).__name__}: {error}"
    if (call.nothing or is_nothing)(result):
        return None
    return f"answered {shown(result)[:200]!r}"


async def _own(tenant: Tenant, aggregate: str, noun: str, call: Call, world: World) -> str | None:
    async def answer(within: Aggregates) -> Any:
        return await result_of(call.make(getattr(getattr(within, aggregate), noun), world.adam))

    try:
        result = await answer(tenant) if call.alone else await _undone(tenant, answer)
    except Exception as error:  # noqa: BLE001 (told by the test)
        refusals = call.may if call.own is None else (call.own, *call.may)
        return None if isinstance(error, refusals) else f"raised {type(error).__name__}: {error}"
    if call.own is not None:
        return f"was not refused with {call.own.__name__}, but answered {shown(result)[:200]!r}"
    return "another is told of" if "bertha" in shown(result) else None


async def _undone(tenant: Tenant, answer: Callable[[Aggregates], Awaitable[Any]]) -> Any:
    """Return an answer, and undo what was done for it."""
    result: Any = None
    with suppress(_Undone):
        async with tenant.write() as unit:
            result = await answer(unit)
            raise _Undone
    return result
