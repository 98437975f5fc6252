"""PostgreSQL over asyncpg: a bare pool, one round trip where one is enough, COPY for bulk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from agentdb.config import Settings
from agentdb.engine.connection import Work
from agentdb.engine.dialects import POSTGRESQL, PooledPostgreSQL, engine_over, once
from agentdb.engine.joining import Joiner, Undone
from agentdb.engine.plan import Compiled, Parameters, Plan
from agentdb.engine.pool import Pool
from agentdb.engine.postgresql.connection import clean, connect, discard, milliseconds, usable
from agentdb.engine.postgresql.copying import copy_rows
from agentdb.engine.postgresql.errors import told_by_server, translate
from agentdb.engine.postgresql.server_clock import ServerClock
from agentdb.engine.postgresql.transaction import MOST_JOINED, PostgreSQLTransaction, changed
from agentdb.engine.retrying import retrying
from agentdb.errors import AgentDBError, BadSettings

T = TypeVar("T")
R = TypeVar("R")
Driver = Any  # asyncpg.Connection: the package carries no types

OLDEST: Final = 16
LANES: Final = 2  # measured: one leaves the server idle while rows are made, three only split the batches


class PostgreSQL:
    """One PostgreSQL database."""

    chains = True
    dialect = POSTGRESQL

    def __init__(
        self, arguments: Mapping[str, Any], settings: Settings, replica: Mapping[str, Any] | None = None
    ) -> None:
        self._settings = settings
        self._pooler = settings.pooler == "transaction"
        self._search_path: str | None = None  # behind a pooler, where a connection cannot carry it
        self._joining = settings.joining
        self._pool = self._pool_over(arguments)
        self._replica = self._pool_over(replica) if replica is not None else None
        self._joiners: dict[int, Joiner[list[Any], Any]] = {}
        self._clock = ServerClock(self._ask_the_time)
        self._sessions: AsyncEngine | None = None

    def _pool_over(self, arguments: Mapping[str, Any]) -> Pool[Driver]:
        return Pool(
            connect=partial(connect, self._with_timeouts(arguments)),
            usable=usable,
            clean=clean,
            discard=discard,
            size=self._settings.pool_size,
            timeout_seconds=self._settings.pool_timeout_seconds,
        )

    def _with_timeouts(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return connect arguments with the server's timeouts, which a transaction pooler would refuse."""
        merged = {**arguments, "timeout": self._settings.connect_timeout_seconds}
        if self._pooler:
            own = dict(merged.get("server_settings", {}))
            self._search_path = own.pop("search_path", None)
            return {**merged, "server_settings": own, "statement_cache_size": 0}
        return {**merged, "server_settings": {**merged.get("server_settings", {}), **self._timeouts()}}

    def _timeouts(self) -> dict[str, str]:
        settings = self._settings
        return {
            "statement_timeout": milliseconds(settings.statement_timeout_seconds),
            "default_transaction_isolation": "read committed",
            "lock_timeout": milliseconds(settings.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": milliseconds(settings.idle_in_transaction_timeout_seconds),
        }

    async def open(self) -> None:
        """Connect once, check the server's version, and measure its clock."""
        connection = await self._pool.acquire()
        try:
            major = connection.get_server_version().major
            if major < OLDEST:
                raise BadSettings(f"PostgreSQL {major} is too old; {OLDEST} is the oldest that is supported")
        finally:
            self._pool.release(connection)
        await self._clock.measure()

    async def close(self) -> None:
        """Let what is in flight finish, and close every connection."""
        for joiner in self._joiners.values():
            await joiner.close()
        await self._clock.close()
        await self._pool.close()
        if self._replica is not None:
            await self._replica.close()

    async def reconnect(self) -> None:
        """Let go of idle connections: those made before a migration know nothing of the types it brought."""
        await self._pool.drain()

    def now(self) -> datetime:
        """Return the server's present moment."""
        return self._clock.now()

    async def _ask_the_time(self) -> datetime:
        try:
            moment: datetime = (await self._fetch(self._pool, "SELECT clock_timestamp()", ()))[0][0]
        except Exception as error:
            raise translate(error) from error
        return moment

    # Single statements: the server's own implicit transaction, and nothing around it

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        try:
            if compiled.together is not None and self._joining and not self._pooler:
                joiner = self._joiners.get(id(compiled)) or self._joiner(compiled)
                answer: T | None = await joiner(arguments)
                return answer
            return await self._one(compiled, arguments)
        except AgentDBError:
            raise
        except Exception as error:
            raise translate(error, plan, parameters) from error

    async def _one(self, compiled: Compiled[T], arguments: Sequence[Any]) -> T | None:
        rows = await self._fetch(self._pool, compiled.text, arguments)
        return compiled.answer(arguments, rows[0]) if rows else None

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        try:
            rows = await self._fetch(self._pool, compiled.text, arguments)
        except Exception as error:
            raise translate(error, plan, parameters) from error
        return [compiled.make(row) for row in rows]

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        if self._pooler:
            async with self.transaction(writes=True) as transaction:
                return await transaction.execute(plan, parameters)
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        connection = self._pool.take() or await self._pool.acquire()
        clean = False
        try:
            status = await connection.execute(compiled.text, *arguments)
            clean = True
        except Exception as error:
            clean = told_by_server(error)
            raise translate(error, plan, parameters) from error
        finally:
            self._pool.release(connection, clean=clean)
        return changed(status)

    async def _fetch(self, pool: Pool[Driver], text: str, arguments: Sequence[Any]) -> list[Any]:
        """Return a statement's rows; the driver's errors pass through."""
        connection = pool.take() or await pool.acquire()
        clean = False
        try:
            if self._pooler:
                # Behind a transaction pooler parse and execute could reach two servers: only a transaction holds one.
                async with connection.transaction():
                    await connection.execute(self._limits())
                    rows: list[Any] = await connection.fetch(text, *arguments)
            else:
                rows = await connection.fetch(text, *arguments)
            clean = True
        except asyncpg.PostgresError as error:
            clean = told_by_server(error)
            raise
        finally:
            pool.release(connection, clean=clean)
        return rows

    def _limits(self) -> str:
        limits = [f"SET LOCAL {name} = '{value}'" for name, value in self._timeouts().items()]
        return "; ".join(limits + ([f"SET LOCAL search_path = {self._search_path}"] if self._search_path else []))

    # Joining

    def _joiner(self, compiled: Compiled[Any]) -> Joiner[list[Any], Any]:
        # A second lane would find locked what the first is writing to, and be passed by.
        lanes = 1 if compiled.passes_by else LANES
        joiner: Joiner[list[Any], Any] = Joiner(
            partial(self._one, compiled),
            partial(self._together, compiled),
            lanes=lanes,
            most=MOST_JOINED,
            most_alone=max(1, self._settings.pool_size // 2),
            patient=False,
        )
        self._joiners[id(compiled)] = joiner
        return joiner

    async def _together(self, compiled: Compiled[Any], calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Answer many calls of one plan by one statement.

        Raises: Undone when the server says that nothing was stored. A lost connection says nothing: the statement may
            have been committed, and running it again could store it twice.
        """
        try:
            rows = await self._fetch(self._pool, compiled.together or "", compiled.gather(calls))
        except asyncpg.PostgresError as error:
            if not told_by_server(error):
                raise
            raise Undone from error
        return compiled.deal(calls, rows)

    # Several statements

    @asynccontextmanager
    async def transaction(self, *, writes: bool) -> AsyncIterator[PostgreSQLTransaction]:
        """Begin; commit when the block is left, roll back when an error leaves it."""
        pool = self._pool if writes or self._replica is None else self._replica
        connection = pool.take() or await pool.acquire()
        transaction = PostgreSQLTransaction(
            connection,
            writes=writes,
            now=self.now,
            limits=self._limits() if self._pooler else "",
            sessions=self.sessions,
        )
        clean = False
        try:
            await transaction.begin()
            try:
                yield transaction
                await transaction.commit()
                clean = True
            except Exception:
                # Rolled back before the error arrives, so that whoever handles it finds the locks gone.
                clean = await transaction.rollback()
                raise
        finally:
            await transaction.end()
            pool.release(connection, clean=clean)

    async def run(self, work: Work[R]) -> R:
        """Run a script in a transaction of its own, again when another was in its way."""

        async def attempt() -> R:
            async with self.transaction(writes=True) as transaction:
                return await transaction.run(work)

        return await retrying(attempt, attempts=self._settings.retry_attempts)

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows by COPY, all or none."""
        if self._pooler:
            async with self.transaction(writes=True) as transaction:
                return await transaction.insert_many(table, rows)
        connection = self._pool.take() or await self._pool.acquire()
        clean = False
        try:
            stored = await copy_rows(connection, table, rows, self.now())
            clean = True
        except AgentDBError:
            clean = True
            raise
        finally:
            self._pool.release(connection, clean=clean)
        return stored

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield rows as they come, from one snapshot, through a cursor of the server."""
        async with self.transaction(writes=False) as transaction:
            async for row in transaction.stream(plan, parameters, batch=batch):
                yield row

    # SQLAlchemy's way in

    def sessions(self) -> AsyncEngine:
        """Return a SQLAlchemy engine over this pool."""
        if self._sessions is None:
            self._sessions = engine_over("postgresql", self._adapted)
        return self._sessions

    async def _adapted(self) -> PooledPostgreSQL:
        connection = self._pool.take() or await self._pool.acquire()
        adapted = PooledPostgreSQL(self.sessions().dialect.dbapi, connection, prepared_statement_cache_size=0)  # type: ignore[no-untyped-call]
        adapted.give_back = once(partial(self._pool.release, connection, clean=False))
        return adapted

    def state(self) -> dict[str, int]:
        """Return how the pool is doing."""
        return {"in_use": self._pool.in_use, "waiting": self._pool.waiting, "size": self._settings.pool_size}
