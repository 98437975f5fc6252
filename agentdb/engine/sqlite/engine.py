"""SQLite: one writer and several readers, each on a thread of its own; point reads in the loop itself."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from agentdb import clock
from agentdb.config import Settings
from agentdb.engine.connection import Work
from agentdb.engine.dialects import SQLITE, PooledSQLite, engine_over, once
from agentdb.engine.joining import Joiner
from agentdb.engine.plan import Compiled, Parameters, Plan
from agentdb.engine.pool import Pool
from agentdb.engine.sqlite import connection as thread
from agentdb.engine.sqlite import writing
from agentdb.engine.sqlite.connection import SQLiteConnection
from agentdb.engine.sqlite.errors import translate
from agentdb.engine.sqlite.transaction import SQLiteTransaction
from agentdb.engine.sqlite.writing import Write
from agentdb.errors import BadSettings

T = TypeVar("T")
R = TypeVar("R")

OLDEST: Final = (3, 38)
MOST_JOINED: Final = 512
# An inline read looks at the clock of the virtual machine every LOOK steps and is given up at the BUDGET-th look:
# under a millisecond. SQLite counts a prepared statement's steps over all its executions, so the first look may come
# at once.
LOOK: Final = 4_000
BUDGET: Final = 6


class SQLite:
    """One SQLite database.

    Args:
        path: its file; None for one in memory: a file in a private temporary folder, removed on close, so that readers
            and the writer do not block each other there either.
        template: for a database in memory, a file to begin as a copy of.
    """

    chains = False
    dialect = SQLITE

    def __init__(self, path: Path | None, settings: Settings, *, template: Path | None = None) -> None:
        self._settings = settings
        self._joining = settings.joining
        self._folder: Path | None = None
        self._template = template
        self._in_memory = path is None
        self._path = path or Path()
        limit = settings.statement_timeout_seconds
        self._writers = self._pool(partial(self._connect, "writer", None), 1)
        self._readers = self._pool(partial(self._connect, "reader", limit), settings.sqlite_readers)
        self._joiner = Joiner(self._alone, self._together, lanes=1, most=MOST_JOINED, most_alone=1, patient=True)
        self._inline: sqlite3.Connection | None = None
        self._looks = 0
        self._sessions: AsyncEngine | None = None

    def _pool(self, connect: Callable[[], Any], size: int) -> Pool[SQLiteConnection]:
        return Pool(
            connect=connect,
            usable=SQLiteConnection.usable,
            clean=SQLiteConnection.clean,
            discard=SQLiteConnection.close,
            size=size,
            timeout_seconds=self._settings.pool_timeout_seconds,
        )

    async def _connect(self, kind: Any, limit_seconds: float | None) -> SQLiteConnection:
        return await SQLiteConnection.open(self._path, self._pragmas(kind), limit_seconds=limit_seconds)

    def _pragmas(self, kind: Any) -> dict[str, str | int]:
        synchronous = "OFF" if self._in_memory else self._settings.sqlite_synchronous.upper()
        return thread.pragmas(
            busy_seconds=self._settings.sqlite_busy_timeout_seconds, synchronous=synchronous, kind=kind
        )

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    async def open(self) -> None:
        """Make the file if there is none, and open the writer: a damaged file is noticed here."""
        if sqlite3.sqlite_version_info < OLDEST:
            raise BadSettings(f"SQLite {sqlite3.sqlite_version} is too old; 3.38 is the oldest that is supported")
        if self._in_memory:
            self._make_folder()
        thread.make_file(self._path)
        self._writers.release(await self._writers.acquire())
        if self._settings.sqlite_inline_reads:
            self._inline = self._open_inline()

    def _make_folder(self) -> None:
        memory = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)
        self._folder = Path(tempfile.mkdtemp(prefix="agentdb-", dir=memory if memory.is_dir() else None))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._path = self._folder / "agentdb.db"
        if self._template is not None:
            shutil.copyfile(self._template, self._path)

    def _open_inline(self) -> sqlite3.Connection:
        try:
            raw = sqlite3.connect(self._path, isolation_level=None, cached_statements=thread.STATEMENTS_KEPT)
            thread.apply_pragmas(raw, self._pragmas("inline"))
        except sqlite3.Error as error:
            raise translate(error) from error
        raw.set_progress_handler(self._look, LOOK)
        return raw

    def _look(self) -> bool:
        self._looks += 1
        return self._looks > BUDGET

    async def close(self) -> None:
        """Let what is in flight finish, and end every thread."""
        await self._joiner.close()
        if self._inline is not None:
            self._inline.close()
            self._inline = None
        await self._readers.close()
        await self._writers.close()  # last, so that it folds the write-ahead log into the file
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

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
            rows = await self._write(Write(lambda raw: thread.fetch(raw, compiled, arguments, parameters), single=True))
            return compiled.answer(arguments, rows[0]) if rows else None
        if plan.point and self._inline is not None:
            found = self._read_inline(compiled, arguments)
            if found is not None:
                return compiled.make(found[0]) if found else None
        return await self._read(lambda raw: thread.fetch_one(raw, compiled, arguments, parameters))

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        compiled = plan.on(SQLITE)
        arguments = compiled.arguments(parameters, clock.now())
        if compiled.writes:
            rows = await self._write(Write(lambda raw: thread.fetch(raw, compiled, arguments, parameters), single=True))
            return [compiled.answer(arguments, row) for row in rows]
        if plan.point and self._inline is not None:
            found = self._read_inline(compiled, arguments)
            if found is not None:
                return [compiled.make(row) for row in found]
        return await self._read(lambda raw: thread.fetch_all(raw, compiled, arguments, parameters))

    def _read_inline(self, compiled: Compiled[Any], arguments: Sequence[Any]) -> list[Any] | None:
        """Return a point read's rows, or None when a thread had better read them."""
        raw = self._inline
        if raw is None:
            return None
        self._looks = 0
        try:
            return raw.execute(compiled.text, arguments).fetchall()
        except (sqlite3.Error, OverflowError, ValueError):
            return None  # over budget, or busy, or an error that the thread will meet again and tell

    async def _read(self, task: thread.Task[R]) -> R:
        connection = self._readers.take() or await self._readers.acquire()
        clean = False
        try:
            result = await connection.hop(task)
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
        return await self._write(Write(lambda raw: thread.execute(raw, compiled, arguments, parameters), single=True))

    async def run(self, work: Work[R]) -> R:
        """Run a script in one hop and one transaction."""
        now = clock.now()
        return await self._write(Write(lambda raw: thread.run_script(raw, work, now), single=False))

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows with one executemany in one hop, all or none."""
        given = list(rows)
        if not given:
            return 0
        records = await writing.prepared(table, given, clock.now())
        return await self._write(Write(lambda raw: writing.insert_rows(raw, table, given, records), single=False))

    async def _write(self, write: Write[R]) -> R:
        if self._joining:
            answer: R = await self._joiner(write)
            return answer
        return await self._alone(write)

    async def _alone(self, write: Write[R]) -> R:
        return await self._on_writer(lambda raw: writing.alone(raw, write))

    async def _together(self, writes: Sequence[Write[Any]]) -> list[Any]:
        return await self._on_writer(lambda raw: writing.together(raw, writes))

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
        transaction = SQLiteTransaction(connection, writes=writes, sessions=self.sessions)
        clean = False
        try:
            try:
                yield transaction
                await transaction.commit()
                clean = True
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

    # SQLAlchemy's way in

    def sessions(self) -> AsyncEngine:
        """Return a SQLAlchemy engine over the writer: its transactions follow one another, and all others."""
        if self._sessions is None:
            self._sessions = engine_over("sqlite", self._adapted)
        return self._sessions

    async def _adapted(self) -> PooledSQLite:
        connection = self._writers.take() or await self._writers.acquire()
        adapted = PooledSQLite(self.sessions().dialect.dbapi, connection.driver)  # type: ignore[arg-type]
        adapted.give_back = once(partial(self._writers.release, connection, clean=False))
        return adapted

    def state(self) -> dict[str, int]:
        """Return how the connections are doing."""
        return {
            "in_use": self._readers.in_use + self._writers.in_use,
            "waiting": self._readers.waiting + self._writers.waiting,
            "size": self._settings.sqlite_readers + 1,
        }
