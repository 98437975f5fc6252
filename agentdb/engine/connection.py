"""The contract that both databases keep, and scripts: several statements as one piece of work.

A repository holds a ``Connection`` and does not know whether each call is a transaction of its own (the shortcuts of a
``Database``) or part of an open unit, nor which database answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.watching import Watch
from agentdb.errors import AgentDBError
from agentdb.keyring import Keyring

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")


class Want(Enum):
    """What a step of a script asks for."""

    ONE = "one"
    ALL = "all"
    COUNT = "count"
    EACH = "each"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a script."""

    want: Want
    plan: Plan[Any]
    parameters: Parameters
    calls: Sequence[Parameters] = ()


# A script yields steps and is sent their answers. It awaits nothing, so SQLite runs the whole of it in its own thread
# in one hop; it may run again from its beginning when the transaction it shared was lost.
Script: TypeAlias = Generator[Step, Any, R]


def one(plan: Plan[T], **parameters: Any) -> Script[T | None]:
    """Within a script: return the first row of a plan, or None."""
    row: T | None = yield Step(Want.ONE, plan, parameters)
    return row


def every(plan: Plan[T], **parameters: Any) -> Script[list[T]]:
    """Within a script: return all rows of a plan."""
    rows: list[T] = yield Step(Want.ALL, plan, parameters)
    return rows


def count(plan: Plan[Any], **parameters: Any) -> Script[int]:
    """Within a script: run a plan, and return how many rows it changed."""
    changed: int = yield Step(Want.COUNT, plan, parameters)
    return changed


def each(plan: Plan[T], calls: Sequence[Parameters]) -> Script[list[T | None]]:
    """Within a script: return the first row of a plan for each of many calls."""
    rows: list[T | None] = yield Step(Want.EACH, plan, {}, calls)
    return rows


# Makes a script afresh: called again when its work has to be repeated.
Work: TypeAlias = Callable[[], Script[R]]


@dataclass(slots=True, eq=False)
class Shared(Generic[C, R]):
    """Work that answers many calls in one transaction.

    ``script`` takes the calls and the present moment, and returns for each call its answer, or the error that is its
    own and that leaves nothing of it behind. An error it raises is nobody's in particular: each call is then made
    alone.

    ``locks`` names what its scripts lock. Kinds that lock the same take turns, each with all who wait for it: at once,
    they would only wait for one another, and in small batches.
    """

    name: str
    script: Callable[[Sequence[C], datetime], Script[Sequence[R | AgentDBError]]]
    locks: str

    def of(self, calls: Sequence[C], now: datetime) -> Work[Sequence[R | AgentDBError]]:
        """Return the script for these calls, to be made as often as it has to run."""
        return lambda: self.script(calls, now)


class Connection(Protocol):
    """What a repository runs its plans on."""

    @property
    def chains(self) -> bool:
        """Whether one statement may change several tables and hand rows from one change to the next."""
        ...

    @property
    def keyring(self) -> Keyring:
        """What seals and opens secrets; any thread, and so any script, may use it."""
        ...

    def now(self) -> datetime:
        """Return the database's present moment, by the library's clock."""
        ...

    def fetch_one(self, plan: Plan[T], parameters: Parameters) -> Awaitable[T | None]:
        """Return the first row of a plan, or None."""
        ...

    def fetch_all(self, plan: Plan[T], parameters: Parameters) -> Awaitable[list[T]]:
        """Return all rows of a plan."""
        ...

    def execute(self, plan: Plan[Any], parameters: Parameters) -> Awaitable[int]:
        """Run a plan, and return how many rows it changed."""
        ...

    def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> Awaitable[int]:
        """Insert rows in bulk, all or none, and return how many.

        Raises: Conflict, MissingReference or BadInput whose ``row`` is the position of the first offending one.
        """
        ...

    def run(self, work: Work[R]) -> Awaitable[R]:
        """Run a script in one transaction: the open one, or one of its own."""
        ...

    def outside(self, work: Work[R]) -> Awaitable[R]:
        """Run a script that no transaction may be around and no time-out may end, such as making an index.

        On PostgreSQL each statement is a transaction of its own, on a connection that is closed behind the last.

        Raises: BadInput inside a unit.
        """
        ...

    def share(self, shared: Shared[C, R], call: C) -> Awaitable[R]:
        """Answer a call, in one transaction with others of its kind that arrive meanwhile; never inside a unit.

        Raises: the call's own error.
        """
        ...

    def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield the rows of a plan as they come, from one snapshot."""
        ...

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Watch a followed table, by its name: what is committed from then on, by whomever, is noticed.

        Raises: BadInput inside a unit; Unavailable when the database is closed.
        """
        ...


class Transaction(Connection, Protocol):
    """An open transaction."""

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo only what happens inside, when an error leaves it."""
        ...

    def told(self, error: DBAPIError) -> AgentDBError:
        """Return our error for what a borrowed connection raised."""
        ...

    def lend(self) -> AsyncConnection:
        """Give SQLAlchemy this transaction's own driver connection; whoever borrows it closes it before the end."""
        ...


class Engine(Connection, Protocol):
    """One database: opened once, closed completely."""

    async def open(self) -> None:
        """Connect, and check that the server will do.

        Raises: BadSettings or Unavailable, naming the setting and never the password.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection, thread and task."""
        ...

    def transaction(self, *, writes: bool) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction: it commits when the block is left, and rolls back when an error leaves it."""
        ...
