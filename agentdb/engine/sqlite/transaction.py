"""An open transaction on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agentdb import clock
from agentdb.engine.connection import Shared, Work
from agentdb.engine.dialects import SQLITE, LentSQLite, connection_over, driver_error
from agentdb.engine.observing import Observing
from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.sharing import alone
from agentdb.engine.sqlite import connection as thread
from agentdb.engine.sqlite import writing
from agentdb.engine.sqlite.connection import SQLiteConnection
from agentdb.engine.sqlite.errors import translate
from agentdb.engine.turns import Turns
from agentdb.engine.watching import Watch, refuse_in_a_unit, told_by_insert
from agentdb.errors import AgentDBError, BadInput, ReadOnly
from agentdb.keyring import Keyring

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")


class SQLiteTransaction:
    """A transaction on one connection, for one task at a time; it begins with its first statement, in the same hop."""

    chains = False

    def __init__(
        self,
        connection: SQLiteConnection,
        *,
        writes: bool,
        sessions: Callable[[], AsyncEngine],
        keyring: Keyring,
        observing: Observing,
    ) -> None:
        self._connection = connection
        self._sessions = sessions
        self.keyring = keyring
        self._observing = observing
        self._writes = writes
        self._begun = False
        self._turns = Turns()
        self.tells: set[str] = set()  # the followed tables it has written to

    def now(self) -> datetime:
        """Return the present moment."""
        return clock.now()

    async def _hop(self, task: thread.Task[R]) -> R:
        with self._turns.take():
            try:
                observed = self._observing.around(task)
                if self._begun:
                    return await self._connection.hop(observed)
                self._begun = True
                return await self._connection.hop(lambda raw: self._begin(raw, observed))
            except sqlite3.Error as error:
                raise translate(error) from error

    def _begin(self, raw: sqlite3.Connection, task: thread.Task[R]) -> R:
        if self._writes:
            writing.begin(raw)
        else:
            raw.execute("BEGIN")
        return task(raw)

    async def commit(self) -> None:
        """Commit.

        Raises: BadInput when an earlier error was swallowed: nothing can be committed then.
        """
        self._turns.close()
        if self._turns.failed:
            raise BadInput("the unit had failed and is rolled back; let its error leave the block, or use a savepoint")
        if self._begun:
            await self._connection.hop(self._commit)

    def _commit(self, raw: sqlite3.Connection) -> None:
        self._connection.close_cursors()
        writing.commit(raw)

    async def rollback(self) -> bool:
        """Roll back, and tell whether the connection is clean."""
        self._turns.close()
        return await self._connection.clean()

    def end(self) -> None:
        """Refuse whatever comes after the block."""
        self._turns.close()

    def _only_if_writing(self, plan: Plan[Any], *, writes: bool) -> None:
        if writes and not self._writes:
            raise ReadOnly(f"{plan.name} writes, and this unit only reads; open it with write()")

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan, writes=compiled.writes)
        self.tells |= compiled.tells
        return await self._hop(lambda raw: thread.fetch_one(raw, compiled, arguments, parameters))

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan, writes=compiled.writes)
        self.tells |= compiled.tells
        return await self._hop(lambda raw: thread.fetch_all(raw, compiled, arguments, parameters))

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan, writes=compiled.writes)
        self.tells |= compiled.tells
        return await self._hop(lambda raw: thread.execute(raw, compiled, arguments, parameters))

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call in this transaction."""
        return await alone(self, shared, call)

    async def run(self, work: Work[R]) -> R:
        """Run a script in one hop."""
        now = self.now()
        return await self._hop(lambda raw: thread.run_script(raw, work, now, self.tells))

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows with one executemany, all or none."""
        given = list(rows)
        if not given:
            return 0
        if not self._writes:
            raise ReadOnly(f"{table.name} is written to, and this unit only reads; open it with write()")
        self.tells |= told_by_insert(table)
        with self._turns.failing():
            records = await writing.prepared(table, given, self.now())
        return await self._hop(lambda raw: writing.insert_rows(raw, table, given, records))

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield rows as they come."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan, writes=compiled.writes)
        with self._observing.streaming(compiled, arguments) as stream:
            cursor = await stream.asked(self._hop(lambda raw: self._connection.cursor(raw, compiled.text, arguments)))
            while rows := await stream.counted(self._hop(lambda _raw: cursor.fetchmany(batch))):
                for row in rows:
                    yield compiled.make(row)

    async def outside(self, work: Work[R]) -> R:  # noqa: ARG002
        """Refuse: this is a transaction."""
        raise BadInput("no transaction may be around this call; make it on the database, after the unit")

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Refuse: what is new is not seen from within a transaction."""
        refuse_in_a_unit(topic)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what happens inside, when an error leaves it."""
        name = self._turns.savepoint()
        await self._hop(lambda raw: raw.execute(f"SAVEPOINT {name}"))
        try:
            yield
        except Exception:
            self._turns.failed = False
            await self._hop(lambda raw: raw.execute(f"ROLLBACK TO {name}"))
            raise
        except BaseException:
            self._turns.failed = True  # cancelled: undone with the whole unit, if somebody catches this
            raise
        await self._hop(lambda raw: raw.execute(f"RELEASE {name}"))

    def told(self, error: DBAPIError) -> AgentDBError:
        """Return our error for what a borrowed connection raised."""
        return translate(driver_error(error))

    def lend(self) -> AsyncConnection:
        """Give SQLAlchemy this transaction's own driver connection."""
        self._turns.refuse_after_the_end()
        engine = self._sessions()
        adapted = LentSQLite(engine.dialect.dbapi, self._connection.driver)  # type: ignore[arg-type]
        adapted.begin_unit = self._ensure_begun
        adapted.mark_failed = partial(setattr, self._turns, "failed")
        return connection_over(engine, adapted)

    async def _ensure_begun(self) -> None:
        if not self._begun:
            await self._hop(lambda _raw: None)
