"""SQLite: one writer and several readers, each on a thread of its own; point reads in the loop itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, TypeVar

from sqlalchemy import Table

from agentdb import clock
from agentdb.config import Settings
from agentdb.engine.connection import Shared, Work
from agentdb.engine.dialects import SQLITE, PooledSQLite
from agentdb.engine.joining import Joiner
from agentdb.engine.lingering import Lingering
from agentdb.engine.observing import Observing
from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.pool import Pool
from agentdb.engine.sessions import Sessions
from agentdb.engine.sharing import Sharing
from agentdb.engine.sqlite import connection as thread
from agentdb.engine.sqlite import writing
from agentdb.engine.sqlite.connection import SQLiteConnection
from agentdb.engine.sqlite.errors import translate
from agentdb.engine.sqlite.inline import Inline, open_inline
from agentdb.engine.sqlite.place import Place
from agentdb.engine.sqlite.transaction import SQLiteTransaction
from agentdb.engine.sqlite.watching import News
from agentdb.engine.sqlite.writing import Write
from agentdb.engine.vectors.matrices import Matrices
from agentdb.engine.watching import Watch, told_by_insert
from agentdb.keyring import Keyring

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

MOST_JOINED: Final = 512


class SQLite:
    """One SQLite database.

    Args:
        path: its file; None for one in memory.
        template: for a database in memory, a file to begin as a copy of.
        observing: who listens.
    """

    chains = False
    dialect = SQLITE

    def __init__(self, path: Path | None, settings: Settings, template: Path | None, observing: Observing) -> None:
        self._settings = settings
        self._observing = observing
        self._observing.translate = translate
        self.keyring = Keyring.from_settings(settings)
        self._joining = settings.joining
        self._place = Place(path, template)
        self._matrices = Matrices()
        limit = settings.statement_timeout_seconds
        self._writers = self._pool("writer", None, 1)
        self._readers = self._pool("reader", limit, settings.sqlite_readers)
        self._joiner = Joiner(
            self._alone,
            self._together,
            lanes=1,
            most=MOST_JOINED,
            most_alone=1,
            patience=None,
            observing=self._observing,
            queue="writer queue",
        )
        self._sharing = Sharing(self, joining=settings.joining, observing=self._observing)
        self._inline: Inline | None = None
        self._news = News(self._connect_here)
        # A session's transactions on the writer follow one another, and all others.
        self.sessions = Sessions(
            "sqlite",
            self._writers,
            lambda driver, connection: PooledSQLite(driver, connection.driver),
            observing,
        )

    def _pool(self, kind: str, limit_seconds: float | None, size: int) -> Pool[SQLiteConnection]:
        return Pool(
            connect=partial(self._connect, kind, limit_seconds),
            usable=SQLiteConnection.usable,
            clean=SQLiteConnection.clean,
            discard=SQLiteConnection.close,
            size=size,
            timeout_seconds=self._settings.pool_timeout_seconds,
            observing=self._observing,
            name=kind,
        )

    async def _connect(self, kind: Any, limit_seconds: float | None) -> SQLiteConnection:
        return await SQLiteConnection.open(self.path, self._pragmas(kind), self._matrices, limit_seconds=limit_seconds)

    def _pragmas(self, kind: Any) -> dict[str, str | int]:
        synchronous = "OFF" if self._place.in_memory else self._settings.sqlite_synchronous.upper()
        return thread.pragmas(
            busy_seconds=self._settings.sqlite_busy_timeout_seconds, synchronous=synchronous, kind=kind
        )

    @property
    def path(self) -> Path:
        """The database file."""
        return self._place.path

    async def open(self) -> None:
        """Make the file if there is none, and open the writer: a damaged file is noticed here.

        A copy in memory is whole: its connections are made when they are needed.
        """
        self._place.make()
        if not self._place.copied:
            self._writers.release(await self._writers.acquire())
        if self._settings.sqlite_inline_reads:
            self._inline = Inline(self._connect_here)

    def _connect_here(self) -> Connection:
        return open_inline(self.path, self._pragmas("inline"))

    async def close(self) -> None:
        """Let what is in flight finish, and end every thread."""
        await self._sharing.close()
        await self._joiner.close()
        self._news.close()
        if self._inline is not None:
            self._inline.close()
            self._inline = None
        await self._readers.close()
        await self._writers.close()  # last, so that it folds the write-ahead log into the file
        self._place.clear()

    async def reconnect(self) -> None:
        """Do nothing: SQLite notices a changed schema by itself."""

    def now(self) -> datetime:
        """Return the present moment."""
        return clock.now()

    # Reads

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, clock.now())
        if compiled.writes:
            work = partial(thread.fetch, compiled=compiled, arguments=arguments, values=parameters)
            rows = await self._write(Write(work, single=True, tells=compiled.tells))
            return compiled.answer(arguments, rows[0]) if rows else None
        if plan.point and self._inline is not None:
            found = self._inline.read(compiled, arguments, self._observing)
            if found is not None:
                return compiled.make(found[0]) if found else None
        return await self._read(lambda raw: thread.fetch_one(raw, compiled, arguments, parameters))

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, clock.now())
        if compiled.writes:
            work = partial(thread.fetch, compiled=compiled, arguments=arguments, values=parameters)
            rows = await self._write(Write(work, single=True, tells=compiled.tells))
            return [compiled.answer(arguments, row) for row in rows]
        if plan.point and self._inline is not None:
            found = self._inline.read(compiled, arguments, self._observing)
            if found is not None:
                return [compiled.make(row) for row in found]
        return await self._read(lambda raw: thread.fetch_all(raw, compiled, arguments, parameters))

    async def _read(self, task: thread.Task[R]) -> R:
        connection = self._readers.take() or await self._readers.acquire()
        clean = False
        try:
            result = await connection.hop(self._observing.around(task))
            clean = True
        except Exception:
            clean = True
            raise
        finally:
            self._readers.release(connection, clean=clean)
        return result

    # Writes: one thread, one transaction for all that wait

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, clock.now())
        work = partial(thread.execute, compiled=compiled, arguments=arguments, values=parameters)
        return await self._write(Write(work, single=True, tells=compiled.tells))

    async def run(self, work: Work[R]) -> R:
        """Run a script in one hop and one transaction."""
        now = clock.now()
        tells: set[str] = set()
        return await self._write(Write(lambda raw: thread.run_script(raw, work, now, tells), single=False, tells=tells))

    outside = run  # there is one writer, and nothing that it may not do in a transaction

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call, in one transaction with others of its kind."""
        return await self._sharing(shared, call)

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows with one executemany in one hop, all or none."""
        given = list(rows)
        if not given:
            return 0
        records = await writing.prepared(table, given, clock.now())
        tells = told_by_insert(table)
        work = partial(writing.insert_rows, table=table, given=given, records=records)
        return await self._write(Write(work, single=False, tells=tells))

    async def _write(self, write: Write[R]) -> R:
        if self._observing.listens:
            write = replace(write, run=self._observing.around(write.run))
        if self._joining:
            answer: R = await self._joiner(write)
            return answer
        return await self._alone(write)

    async def _alone(self, write: Write[R]) -> R:
        answer = await self._on_writer(lambda raw: writing.alone(raw, write))
        if write.tells:
            self._news.tell(write.tells)
        return answer

    async def _together(self, writes: Sequence[Write[Any]]) -> list[Any]:
        answers = await self._on_writer(lambda raw: writing.together(raw, writes))
        for write in writes:
            if write.tells:
                self._news.tell(write.tells)
        return answers

    async def _on_writer(self, task: thread.Task[R]) -> R:
        connection = self._writers.take() or await self._writers.acquire()
        clean = False
        try:
            result = await connection.hop(task)
            clean = True
        except Exception:
            clean = True  # the task has rolled back by itself
            raise
        finally:
            # A cancelled caller's work goes on, is wholly in or wholly out, and keeps the next writer waiting.
            self._writers.release(connection, clean=clean)
        return result

    # Several statements

    @asynccontextmanager
    async def transaction(self, *, writes: bool) -> AsyncIterator[SQLiteTransaction]:
        """Begin; commit when the block is left, roll back when an error leaves it."""
        pool = self._writers if writes else self._readers
        connection = pool.take() or await pool.acquire()
        transaction = SQLiteTransaction(
            connection, writes=writes, sessions=self.sessions, keyring=self.keyring, observing=self._observing
        )
        limit = self._observing.long_transaction_seconds if writes else 0
        clean = False
        try:
            try:
                with Lingering("a write transaction", limit):
                    yield transaction
                    await transaction.commit()
                clean = True
                if transaction.tells:
                    self._news.tell(transaction.tells)
            except Exception:
                clean = await transaction.rollback()
                raise
        finally:
            transaction.end()
            pool.release(connection, clean=clean)

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield rows as they come, from one snapshot."""
        async with self.transaction(writes=False) as transaction:
            async for row in transaction.stream(plan, parameters, batch=batch):
                yield row

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Watch a followed table: what is committed from then on is noticed."""
        return self._news.watch(topic)

    def state(self) -> dict[str, int]:
        """Return how the connections are doing."""
        in_use = self._readers.in_use + self._writers.in_use
        waiting = self._readers.waiting + self._writers.waiting + self._joiner.waiting
        return {"in_use": in_use, "waiting": waiting, "size": self._settings.sqlite_readers + 1}
