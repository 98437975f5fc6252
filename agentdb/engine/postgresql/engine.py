"""PostgreSQL over asyncpg: a bare pool, one round trip where one is enough, COPY for bulk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Table

from agentdb.config import Settings
from agentdb.engine.connection import Shared, Work
from agentdb.engine.dialects import POSTGRESQL, PooledPostgreSQL
from agentdb.engine.lingering import Lingering
from agentdb.engine.observing import Observing
from agentdb.engine.plan import Compiled, Parameters, Plan
from agentdb.engine.postgresql.answering import Answering
from agentdb.engine.postgresql.connection import connect, discard
from agentdb.engine.postgresql.copying import changed, copy_rows
from agentdb.engine.postgresql.errors import told_by_server, translate
from agentdb.engine.postgresql.limits import Limits
from agentdb.engine.postgresql.listening import SAY, News
from agentdb.engine.postgresql.pooling import Pools
from agentdb.engine.postgresql.server_clock import ServerClock
from agentdb.engine.postgresql.transaction import PostgreSQLTransaction
from agentdb.engine.retrying import retrying
from agentdb.engine.sessions import Sessions
from agentdb.engine.sharing import Sharing
from agentdb.engine.watching import Watch, told_by_insert
from agentdb.errors import AgentDBError, BadSettings
from agentdb.keyring import Keyring

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

OLDEST: Final = 16


class PostgreSQL:
    """One PostgreSQL database."""

    chains = True
    dialect = POSTGRESQL

    def __init__(
        self, arguments: Mapping[str, Any], settings: Settings, replica: Mapping[str, Any] | None, observing: Observing
    ) -> None:
        self._settings = settings
        self._observing = observing
        self._observing.translate = translate
        self.keyring = Keyring.from_settings(settings)
        self._pooler = settings.pooler == "transaction"
        self._limits = Limits(settings)
        timed = self._limits.with_timeouts
        self._pools = Pools(timed(arguments), None if replica is None else timed(replica), settings, observing)
        self._pool = self._pools.common
        adapt = partial(PooledPostgreSQL, prepared_statement_cache_size=0)
        self.sessions = Sessions("postgresql", self._pool, adapt, observing)
        self._over = partial(
            PostgreSQLTransaction, now=self.now, sessions=self.sessions, keyring=self.keyring, observing=observing
        )
        self._sharing = Sharing(self, joining=settings.joining, observing=self._observing)
        self._news = News(self._say, self._listener())
        self._answer = Answering(
            self._fetch,
            self._news.tell,
            joining=settings.joining and not self._pooler,
            most_alone=max(1, settings.pool_size // 2),
            observing=self._observing,
        )
        self._clock = ServerClock(self._ask_the_time)

    def _listener(self) -> partial[Any] | None:
        """Return what connects past the pooler, where that is possible."""
        direct = self._settings.direct
        if self._pooler and direct is self._settings.target:
            return None
        return partial(connect, {**direct.connect_arguments(), "timeout": self._settings.connect_timeout_seconds})

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
        await self._sharing.close()
        await self._answer.close()
        await self._news.close()
        await self._clock.close()
        await self._pools.close()

    async def reconnect(self) -> None:
        """Let go of idle connections: those made before a migration know nothing of the types it brought."""
        await self._pools.drain()

    def now(self) -> datetime:
        """Return the server's present moment."""
        return self._clock.now()

    async def _ask_the_time(self) -> datetime:
        try:
            moment: datetime = (await self._fetch("the server's clock", "SELECT clock_timestamp()", ()))[0][0]
        except Exception as error:
            raise translate(error) from error
        return moment

    # Single statements: the server's own implicit transaction, and nothing around it. One that was the victim of a
    # deadlock has stored nothing, and is run again.

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        return await self._retrying(partial(self._fetch_one, plan, parameters))

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        return await self._retrying(partial(self._fetch_all, plan, parameters))

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        return await self._retrying(partial(self._execute, plan, parameters))

    async def _retrying(self, attempt: Callable[[], Awaitable[R]]) -> R:
        return await retrying(attempt, attempts=self._settings.retry_attempts)

    async def _fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        try:
            return await self._answer(compiled, arguments)
        except AgentDBError:
            raise
        except Exception as error:
            raise translate(error, plan, parameters) from error

    async def _fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        try:
            rows = await self._fetch(compiled, compiled.text, arguments)
        except Exception as error:
            raise translate(error, plan, parameters) from error
        if compiled.tells:
            self._news.tell(compiled.tells)
        return [compiled.make(row) for row in rows]

    async def _execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        if self._pooler:
            async with self.transaction(writes=True) as transaction:
                return await transaction.execute(plan, parameters)
        compiled = plan.on(POSTGRESQL)
        arguments = compiled.arguments(parameters, self.now())
        connection = self._pool.take() or await self._pool.acquire()
        clean = False
        try:
            sent = connection.execute(compiled.text, *arguments)
            status = await self._observing.fetched(sent, compiled, compiled.text, arguments, rows=changed)
            clean = True
        except Exception as error:
            clean = told_by_server(error)
            raise translate(error, plan, parameters) from error
        finally:
            self._pool.release(connection, clean=clean)
        if compiled.tells:
            self._news.tell(compiled.tells)
        return changed(status)

    async def _fetch(self, what: Compiled[Any] | str, text: str, arguments: Sequence[Any], calls: int = 1) -> list[Any]:
        """Return the rows of a statement that answers so many calls; the driver's errors pass through."""
        pool = self._pools.apart if isinstance(what, Compiled) and what.plan.apart else self._pool
        connection = pool.take() or await pool.acquire()
        clean = False
        try:
            if self._pooler:
                # Behind a transaction pooler parse and execute could reach two servers: only a transaction holds one.
                async with connection.transaction():
                    await connection.execute(self._limits.text())
                    sent = connection.fetch(text, *arguments)
                    rows: list[Any] = await self._observing.fetched(sent, what, text, arguments, calls=calls)
            else:
                sent = connection.fetch(text, *arguments)
                rows = await self._observing.fetched(sent, what, text, arguments, calls=calls)
            clean = True
        except asyncpg.PostgresError as error:
            clean = told_by_server(error)
            raise
        finally:
            pool.release(connection, clean=clean)
        return rows

    # Several statements

    @asynccontextmanager
    async def transaction(self, *, writes: bool) -> AsyncIterator[PostgreSQLTransaction]:
        """Begin; commit when the block is left, roll back when an error leaves it."""
        pool = self._pool if writes else self._pools.replica or self._pool
        connection = pool.take() or await pool.acquire()
        transaction = self._over(connection, writes=writes, limits=self._limits.text() if self._pooler else "")
        limit = self._observing.long_transaction_seconds if writes else 0
        clean = False
        try:
            await transaction.begin()
            try:
                with Lingering("a write transaction", limit):
                    yield transaction
                    await transaction.commit()
                clean = True
                if transaction.tells:
                    self._news.tell(transaction.tells)
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

        return await self._retrying(attempt)

    async def outside(self, work: Work[R]) -> R:
        """Run a script, each statement a transaction of its own, past any pooler and without a limit of time."""
        connection = await connect(
            {**self._settings.direct.connect_arguments(), "timeout": self._settings.connect_timeout_seconds}
        )
        try:
            return await self._over(connection, writes=True, limits="").run(work)
        finally:
            await discard(connection)

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call, in one transaction with others of its kind."""
        return await self._sharing(shared, call)

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows by COPY, all or none."""
        if self._pooler:
            async with self.transaction(writes=True) as transaction:
                return await transaction.insert_many(table, rows)
        connection = self._pool.take() or await self._pool.acquire()
        clean = False
        try:
            stored = await copy_rows(connection, table, rows, self.now(), self._observing)
            clean = True
        except AgentDBError:
            clean = True
            raise
        finally:
            self._pool.release(connection, clean=clean)
        if stored and (topics := told_by_insert(table)):
            self._news.tell(topics)
        return stored

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield rows as they come, from one snapshot, through a cursor of the server."""
        async with self.transaction(writes=False) as transaction:
            async for row in transaction.stream(plan, parameters, batch=batch):
                yield row

    # Following

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Watch a followed table: what is committed from then on is noticed."""
        return self._news.watch(topic)

    async def _say(self, payload: str) -> bool:
        return bool(await self._fetch("telling who follows", SAY, (payload,)))

    def state(self) -> dict[str, int]:
        """Return how the pool is doing."""
        return {"in_use": self._pool.in_use, "waiting": self._pool.waiting, "size": self._settings.pool_size}
