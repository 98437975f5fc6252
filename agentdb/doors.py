"""Which unit a task has open, and the shortcuts that are refused inside one.

On SQLite a shortcut inside the task's own write unit would wait for itself for ever; on PostgreSQL it would be another
transaction, which does not see what the unit has done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Table

from agentdb.engine.connection import Connection, Shared, Work
from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.watching import Watch
from agentdb.errors import BadInput, Unavailable
from agentdb.keyring import Keyring
from agentdb.unit import Unit

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

# Each unit with its database and its task: one task may have units open on several databases, to copy between them.
_opened: Final[ContextVar[tuple[tuple[Unit, Shortcut, asyncio.Task[Any] | None], ...]]] = ContextVar(
    "agentdb_units", default=()
)


def enter(unit: Unit, database: Shortcut) -> None:
    """Remember that this task has a unit of a database open."""
    _opened.set((*_opened.get(), (unit, database, asyncio.current_task())))


def leave(unit: Unit) -> None:
    """Forget it, in whichever task it ends."""
    unit.over = True
    _opened.set(tuple(opened for opened in _opened.get() if opened[0] is not unit))


def refuse_inside_a_unit(what: str, database: Shortcut) -> None:
    """Refuse a call that would be another transaction, or a deadlock, while this task has a unit of this database open.

    Raises: BadInput naming the unit.
    """
    opened = _opened.get()
    if not opened:
        return
    task = asyncio.current_task()
    for unit, of, opener in opened:
        if of is database and opener is task and not unit.over:
            kind = "write" if unit.writes else "read"
            raise BadInput(f"{what} inside an open {kind} unit of the same task; call it on that unit, or after it")


class Shortcut:
    """A database's engine as its shortcuts use it: each call its own transaction, never inside a unit."""

    def __init__(self) -> None:
        self._engine: Connection | None = None

    def lead_to(self, engine: Connection | None) -> None:
        """Lead to an engine that has been opened, or to none."""
        self._engine = engine

    def _connection(self, what: str) -> Connection:
        if _opened.get():
            refuse_inside_a_unit(what, self)
        if self._engine is None:
            raise Unavailable("the database is not open; use `async with`, or await open()")
        return self._engine

    @property
    def chains(self) -> bool:
        """Whether one statement may change several tables."""
        return self._connection("a call").chains

    @property
    def keyring(self) -> Keyring:
        """What seals and opens secrets."""
        return self._connection("a call").keyring

    def now(self) -> datetime:
        """Return the database's present moment."""
        return self._connection("now()").now()

    def fetch_one(self, plan: Plan[T], parameters: Parameters) -> Awaitable[T | None]:
        """Return the first row of a plan, or None."""
        return self._connection(plan.name).fetch_one(plan, parameters)

    def fetch_all(self, plan: Plan[T], parameters: Parameters) -> Awaitable[list[T]]:
        """Return all rows of a plan."""
        return self._connection(plan.name).fetch_all(plan, parameters)

    def execute(self, plan: Plan[Any], parameters: Parameters) -> Awaitable[int]:
        """Run a plan, and return how many rows it changed."""
        return self._connection(plan.name).execute(plan, parameters)

    def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> Awaitable[int]:
        """Insert rows in bulk, all or none, and return how many."""
        return self._connection(f"{table.name}.add_many").insert_many(table, rows)

    def run(self, work: Work[R]) -> Awaitable[R]:
        """Run a script in one transaction."""
        return self._connection("a call of several statements").run(work)

    def outside(self, work: Work[R]) -> Awaitable[R]:
        """Run a script that no transaction may be around."""
        return self._connection("a call that no transaction may be around").outside(work)

    def share(self, shared: Shared[C, R], call: C) -> Awaitable[R]:
        """Answer a call, in one transaction with others of its kind."""
        return self._connection(shared.name).share(shared, call)

    def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield the rows of a plan as they come."""
        return self._connection(plan.name).stream(plan, parameters, batch=batch)

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Watch a followed table: what is committed from then on is noticed."""
        return self._connection(f"following {topic}").watch(topic)
