"""An open transaction on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agentdb.engine.connection import Script, Shared, Want, Work
from agentdb.engine.dialects import POSTGRESQL, LentPostgreSQL, connection_over, driver_error
from agentdb.engine.observing import Observing
from agentdb.engine.plan import Compiled, Parameters, Plan, batched
from agentdb.engine.postgresql.copying import changed, copy_rows
from agentdb.engine.postgresql.errors import translate
from agentdb.engine.sharing import alone
from agentdb.engine.turns import Turns
from agentdb.engine.watching import Watch, refuse_in_a_unit, told_by_insert
from agentdb.errors import AgentDBError, BadInput, ReadOnly
from agentdb.keyring import Keyring

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")
Driver = Any  # asyncpg.Connection: the package carries no types

MOST_JOINED: Final = 512


class PostgreSQLTransaction:
    """A transaction on one connection, for one task at a time.

    Args:
        connection: the driver's.
        writes: whether it may.
        now: tells the database's present moment.
        limits: what is set behind BEGIN, in the same round trip; empty where the server knows its time-outs already.
        sessions: gives the SQLAlchemy engine whose dialect speaks through a lent connection.
        keyring: the engine's.
        observing: who listens.
    """

    chains = True

    def __init__(
        self,
        connection: Driver,
        *,
        writes: bool,
        now: Callable[[], datetime],
        limits: str,
        sessions: Callable[[], AsyncEngine],
        keyring: Keyring,
        observing: Observing,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._sessions = sessions
        self.now = now
        self.keyring = keyring
        self._observing = observing
        self._writes = writes
        self._turns = Turns()
        self.tells: set[str] = set()  # the followed tables it has written to

    async def begin(self) -> None:
        """Begin: to write, or to read one snapshot."""
        text = (
            "BEGIN ISOLATION LEVEL READ COMMITTED"
            if self._writes
            else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        )
        try:
            await self._connection.execute(f"{text}; {self._limits}" if self._limits else text)
        except Exception as error:
            raise translate(error) from error

    async def commit(self) -> None:
        """Commit.

        Raises: BadInput when an earlier error was swallowed: nothing can be committed then.
        """
        self._turns.close()
        if self._turns.failed:
            raise BadInput("the unit had failed and is rolled back; let its error leave the block, or use a savepoint")
        try:
            status = await self._connection.execute("COMMIT")
        except Exception as error:
            raise translate(error) from error
        if status != "COMMIT":
            raise BadInput("the unit had failed and was rolled back; let its error leave the block, or use a savepoint")

    async def rollback(self) -> bool:
        """Roll back, and tell whether the connection is clean."""
        self._turns.close()
        try:
            if self._connection.is_in_transaction():
                await self._connection.execute("ROLLBACK")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return not self._connection.is_in_transaction()

    async def end(self) -> None:
        """Refuse whatever comes after the block."""
        self._turns.close()

    def _only_if_writing(self, what: str, *, writes: bool) -> None:
        if writes and not self._writes:
            raise ReadOnly(f"{what} writes, and this unit only reads; open it with write()")

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan.name, writes=compiled.writes)
        self.tells |= compiled.tells
        rows = await self._fetch(compiled, compiled.text, arguments, parameters)
        return compiled.answer(arguments, rows[0]) if rows else None

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan.name, writes=compiled.writes)
        self.tells |= compiled.tells
        return [compiled.make(row) for row in await self._fetch(compiled, compiled.text, arguments, parameters)]

    async def _fetch(
        self, compiled: Compiled[Any], text: str, arguments: Sequence[Any], parameters: Parameters, calls: int = 1
    ) -> list[Any]:
        with self._turns.take():
            try:
                sent = self._connection.fetch(text, *arguments)
                rows: list[Any] = await self._observing.fetched(sent, compiled, text, arguments, calls=calls)
            except Exception as error:
                raise translate(error, compiled.plan, parameters) from error
        return rows

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        self._only_if_writing(plan.name, writes=compiled.writes)
        self.tells |= compiled.tells
        with self._turns.take():
            try:
                sent = self._connection.execute(compiled.text, *arguments)
                status = await self._observing.fetched(sent, compiled, compiled.text, arguments, rows=changed)
            except Exception as error:
                raise translate(error, plan, parameters) from error
        return changed(status)

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call in this transaction."""
        return await alone(self, shared, call)

    async def run(self, work: Work[R]) -> R:
        """Run a script's statements one after another; an error between them, too, leaves the unit failed."""
        try:
            return await self._run(work())
        except BaseException:
            self._turns.failed = True
            raise

    async def _run(self, script: Script[R]) -> R:
        answer: Any = None
        while True:
            try:
                step = script.send(answer)
            except StopIteration as stop:
                result: R = stop.value
                return result
            match step.want:
                case Want.ONE:
                    answer = await self.fetch_one(step.plan, step.parameters)
                case Want.ALL:
                    answer = await self.fetch_all(step.plan, step.parameters)
                case Want.COUNT:
                    answer = await self.execute(step.plan, step.parameters)
                case Want.EACH:
                    answer = await self._fetch_each(step.plan, step.calls)

    async def _fetch_each(self, plan: Plan[Any], calls: Sequence[Parameters]) -> list[Any]:
        """Return the first row of a plan for each call: together, where the plan can."""
        compiled = plan.on(POSTGRESQL)
        if plan.together is None or plan.together.passes_by or compiled.together is None or len(calls) < 2:
            return [await self.fetch_one(plan, call) for call in calls]
        self.tells |= compiled.tells
        now = self.now()
        answers: list[Any] = []
        for some in batched([compiled.arguments(call, now) for call in calls], MOST_JOINED):
            rows = await self._fetch(compiled, compiled.together, compiled.gather(some), {}, len(some))
            answers.extend(compiled.deal(some, rows))
        return answers

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows by COPY, all or none."""
        self._only_if_writing(table.name, writes=True)
        self.tells |= told_by_insert(table)
        with self._turns.take():
            return await copy_rows(self._connection, table, rows, self.now(), self._observing)

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield rows as they come, through a cursor of the server."""
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        try:
            with self._observing.streaming(compiled, arguments) as stream:
                with self._turns.take():
                    cursor = await stream.asked(self._connection.cursor(compiled.text, *arguments))
                while True:
                    with self._turns.take():
                        rows = await stream.counted(cursor.fetch(batch))
                    if not rows:
                        return
                    for row in rows:
                        yield compiled.make(row)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error, plan, parameters) from error

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
        await self._command(f"SAVEPOINT {name}")
        try:
            yield
        except Exception:
            self._turns.failed = False
            await self._command(f"ROLLBACK TO SAVEPOINT {name}")
            raise
        except BaseException:
            self._turns.failed = True  # cancelled: undone with the whole unit, if somebody catches this
            raise
        await self._command(f"RELEASE SAVEPOINT {name}")

    async def _command(self, text: str) -> None:
        with self._turns.take():
            try:
                await self._connection.execute(text)
            except Exception as error:
                raise translate(error) from error

    def told(self, error: DBAPIError) -> AgentDBError:
        """Return our error for what a borrowed connection raised."""
        return translate(driver_error(error))

    def lend(self) -> AsyncConnection:
        """Give SQLAlchemy this transaction's own driver connection."""
        self._turns.refuse_after_the_end()
        engine = self._sessions()
        adapted = LentPostgreSQL(engine.dialect.dbapi, self._connection, prepared_statement_cache_size=0)  # type: ignore[no-untyped-call]
        return connection_over(engine, adapted)
