"""One SQLite connection and its thread: aiosqlite owns both, and a whole piece of work goes there in one hop."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import aiosqlite

from agentdb.engine.connection import Step, Want, Work
from agentdb.engine.dialects import SQLITE
from agentdb.engine.observing import begun
from agentdb.engine.plan import Compiled, Plan
from agentdb.engine.sqlite.errors import translate
from agentdb.engine.sqlite.functions import add_functions
from agentdb.engine.sqlite.vectors import add_vector_functions
from agentdb.engine.sqlite.waiting import TurnTaking
from agentdb.engine.vectors.matrices import Matrices
from agentdb.errors import AgentDBError, BadSettings, Unavailable

T = TypeVar("T")
R = TypeVar("R")
Task = Callable[[sqlite3.Connection], R]

# aiosqlite logs every call with its arguments at DEBUG, secrets among them.
logging.getLogger("aiosqlite").addFilter(lambda record: record.levelno > logging.DEBUG)

STATEMENTS_KEPT: Final = 512
CACHE_KIB: Final = 64 * 1024
# Of the write-ahead log, before it is folded into the file: the same few pages are written again and again, and each
# folding waits for the disk twice. With four times SQLite's own measure a queue is drained 14 % faster.
PAGES_LOGGED: Final = 4_000
ENDING_SECONDS: Final = 0.001  # that the loop stands still for a thread which ends, at most, before it turns again
STEPS_BETWEEN_LOOKS: Final = 50_000  # of SQLite's virtual machine: a few milliseconds


class SQLiteConnection:
    """A connection that lives on a thread of its own."""

    def __init__(self, driver: aiosqlite.Connection, *, limit_seconds: float | None) -> None:
        self.driver = driver
        self._cursors: list[sqlite3.Cursor] = []
        self._limit = limit_seconds
        self._deadline = float("inf")
        self._answer: asyncio.Future[Any] | None = None

    @classmethod
    async def open(
        cls, path: Path, pragmas: Mapping[str, Any], matrices: Matrices, *, limit_seconds: float | None = None
    ) -> SQLiteConnection:
        """Open a connection.

        Args:
            path: of the file.
            pragmas: what it is set to.
            matrices: of the vectors in this file.
            limit_seconds: how long one hop may take before it is ended; None, for a writer: never.
        """
        kind = sqlite3.Connection if "query_only" in pragmas else TurnTaking
        driver = aiosqlite.connect(path, isolation_level=None, cached_statements=STATEMENTS_KEPT, factory=kind)
        driver._thread.daemon = True  # noqa: SLF001 (as SQLAlchemy does: a forgotten close must not hold the interpreter)
        try:
            await driver
            connection = cls(driver, limit_seconds=limit_seconds)
            await connection.hop(lambda raw: connection._prepare(raw, pragmas, matrices))
        except (sqlite3.Error, ValueError) as error:
            driver.stop()
            await _ended(driver)
            raise translate(error) from error
        except BaseException:
            driver.stop()
            raise
        return connection

    def _prepare(self, raw: sqlite3.Connection, pragmas: Mapping[str, Any], matrices: Matrices) -> None:
        apply_pragmas(raw, pragmas)
        if isinstance(raw, TurnTaking):
            raw.take_turns(pragmas["busy_timeout"] / 1000)
        add_functions(raw)
        add_vector_functions(raw, matrices, publish="query_only" in pragmas)
        if self._limit is not None:
            raw.set_progress_handler(self._overdue, STEPS_BETWEEN_LOOKS)

    def _overdue(self) -> bool:
        """Tell, on the thread, whether nobody waits for this hop's answer any more, or it has taken too long."""
        return time.monotonic() > self._deadline or (self._answer is not None and self._answer.cancelled())

    def _work(self, raw: sqlite3.Connection, answer: asyncio.Future[Any], task: Task[R]) -> R:
        if self._limit is not None:
            self._deadline, self._answer = time.monotonic() + self._limit, answer
        return task(raw)

    async def hop(self, task: Task[R]) -> R:
        """Run a function on the connection's thread, and return what it returns.

        A cancelled caller leaves the function running, but for a read, which ends soon: the connection must be cleaned
        before its next use.
        """
        driver = self.driver
        raw = driver._connection  # noqa: SLF001
        if raw is None:
            raise Unavailable("the database is closed; open it again before using it")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        # aiosqlite's own queue, as SQLAlchemy uses it, and a function that shows nothing of what it is about.
        driver._tx.put_nowait((future, lambda: self._work(raw, future, task)))  # noqa: SLF001
        return await future

    def cursor(self, raw: sqlite3.Connection, text: str, arguments: list[Any]) -> sqlite3.Cursor:
        """Return a cursor over rows that are fetched little by little, on the thread."""
        cursor = raw.execute(text, arguments)
        self._cursors.append(cursor)
        return cursor

    def close_cursors(self) -> None:
        """Close what was not read to its end, on the thread: an open cursor would keep its snapshot beyond COMMIT."""
        while self._cursors:
            self._cursors.pop().close()

    def _roll_back(self, raw: sqlite3.Connection) -> None:
        self.close_cursors()
        if raw.in_transaction:
            raw.execute("ROLLBACK")

    def usable(self) -> bool:
        """Tell whether the connection is open."""
        return self.driver._connection is not None  # noqa: SLF001

    async def clean(self) -> bool:
        """Wait for what a cancelled caller left running, and roll back what it left open."""
        try:
            await self.hop(self._roll_back)
        except (sqlite3.Error, AgentDBError):
            return False
        return True

    async def close(self) -> None:
        """Close the connection and end its thread."""
        if self.usable():
            await self.driver.close()
            await _ended(self.driver)


async def _ended(driver: aiosqlite.Connection) -> None:
    """Wait for the end of a thread that was told to stop: it answers into the loop, which may be closed right after."""
    while (thread := driver._thread).is_alive():  # noqa: SLF001
        # A loop that only turns keeps the interpreter's lock from the thread that has but to end: milliseconds of it.
        thread.join(ENDING_SECONDS)
        await asyncio.sleep(0)


def apply_pragmas(raw: sqlite3.Connection, pragmas: Mapping[str, Any]) -> None:
    """Set pragmas in their order: the busy timeout comes first, since changing the journal mode may have to wait."""
    for name, value in pragmas.items():
        raw.execute(f"PRAGMA {name} = {value}").fetchall()


def pragmas(
    *, busy_seconds: float, synchronous: str, kind: Literal["writer", "reader", "inline"]
) -> dict[str, str | int]:
    """Return what a connection of a kind is set to."""
    common: dict[str, str | int] = {
        "busy_timeout": 0 if kind == "inline" else round(busy_seconds * 1000),
        "journal_mode": "WAL",
        "synchronous": synchronous,
        "foreign_keys": "ON",
        "recursive_triggers": "ON",
        "cache_size": -CACHE_KIB,
        "temp_store": "MEMORY",
    }
    own: dict[str, str | int] = {"wal_autocheckpoint": PAGES_LOGGED} if kind == "writer" else {"query_only": "ON"}
    return {**common, **own}


def make_file(path: Path) -> None:
    """Make the database file for its owner alone, when there is none.

    One that is there is never opened here: closing any descriptor of a file drops every lock this process holds on it,
    and another process that leaves would then take the write-ahead log with it.

    Raises: BadSettings when the folder or the file cannot be written.
    Source: https://www.sqlite.org/howtocorrupt.html, section 2.2.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK) or not path.is_file():
            raise BadSettings(
                f"the database file {path} cannot be read and written; check its permissions, AGENTDB_FOLDER or the URL"
            ) from None
    except OSError as error:
        raise BadSettings(
            f"the database file {path} cannot be opened for writing ({error.strerror}); check AGENTDB_FOLDER or the URL"
        ) from error


# Work for the thread


def fetch(
    raw: sqlite3.Connection, compiled: Compiled[Any], arguments: list[Any], values: Mapping[str, Any]
) -> list[Any]:
    """Return the driver's rows of a plan; the statement runs to its end."""
    running = begun(compiled, arguments)
    try:
        cursor = raw.execute(compiled.text, arguments)
        rows = compiled.told(cursor.lastrowid) if compiled.tells_id else cursor.fetchall()
    except Exception as error:
        refusal = translate(error, raw, compiled.plan, values)
        if running is not None:
            running.failed(refusal)
        raise refusal from error
    if running is not None:
        running.ended(len(rows))
    return rows


def fetch_all(
    raw: sqlite3.Connection, compiled: Compiled[T], arguments: list[Any], values: Mapping[str, Any]
) -> list[T]:
    """Return all rows of a plan."""
    return [compiled.answer(arguments, row) for row in fetch(raw, compiled, arguments, values)]


def fetch_one(
    raw: sqlite3.Connection, compiled: Compiled[T], arguments: list[Any], values: Mapping[str, Any]
) -> T | None:
    """Return the first row of a plan, or None."""
    rows = fetch(raw, compiled, arguments, values)
    return compiled.answer(arguments, rows[0]) if rows else None


def execute(raw: sqlite3.Connection, compiled: Compiled[Any], arguments: list[Any], values: Mapping[str, Any]) -> int:
    """Run a plan, and return how many rows it changed."""
    running = begun(compiled, arguments)
    try:
        cursor = raw.execute(compiled.text, arguments)
        cursor.fetchall()
    except Exception as error:
        refusal = translate(error, raw, compiled.plan, values)
        if running is not None:
            running.failed(refusal)
        raise refusal from error
    rows = _changed(raw, cursor, compiled)
    if running is not None:
        running.ended(rows)
    return rows


def _changed(raw: sqlite3.Connection, cursor: sqlite3.Cursor, compiled: Compiled[Any]) -> int:
    """Return how many rows a statement changed: the driver counts only where its first word says what it does."""
    if compiled.writes and cursor.rowcount < 0:
        return int(raw.execute("SELECT changes()").fetchone()[0])
    return max(cursor.rowcount, 0)


def run_script(raw: sqlite3.Connection, work: Work[R], now: Any, tells: set[str]) -> R:
    """Run a script's statements one after another.

    Args: tells: takes the followed tables it writes to.
    """
    script = work()
    answer: Any = None
    while True:
        try:
            step: Step = script.send(answer)
        except StopIteration as stop:
            result: R = stop.value
            return result
        plan: Plan[Any] = step.plan
        compiled = plan.on(SQLITE)
        tells |= compiled.tells
        if step.want is Want.EACH:
            answer = [fetch_one(raw, compiled, compiled.arguments(call, now), call) for call in step.calls]
            continue
        arguments = compiled.arguments(step.parameters, now)
        match step.want:
            case Want.ONE:
                answer = fetch_one(raw, compiled, arguments, step.parameters)
            case Want.ALL:
                answer = fetch_all(raw, compiled, arguments, step.parameters)
            case Want.COUNT:
                answer = execute(raw, compiled, arguments, step.parameters)
