"""Point reads in the event loop itself: a hop to a thread would take longer than the read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agentdb.engine.observing import Observing
from agentdb.engine.plan import Compiled
from agentdb.engine.sqlite import connection as thread
from agentdb.engine.sqlite.errors import translate
from agentdb.errors import AgentDBError

# A read looks at the clock of the virtual machine every LOOK steps and is given up at the BUDGET-th look: under a
# millisecond. SQLite counts a prepared statement's steps over all its executions, so the first look may come at once.
LOOK: Final = 4_000
BUDGET: Final = 6


def open_inline(path: Path, pragmas: Mapping[str, Any]) -> sqlite3.Connection:
    """Open a connection that belongs to the event loop's own thread; it must never wait."""
    try:
        raw = sqlite3.connect(path, isolation_level=None, cached_statements=thread.STATEMENTS_KEPT)
        thread.apply_pragmas(raw, pragmas)
    except sqlite3.Error as error:
        raise translate(error) from error
    return raw


class Inline:
    """A connection for reads of a few small rows, made at the first of them: reading the schema takes milliseconds."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._raw: sqlite3.Connection | None = None
        self._looks = 0

    def _open(self) -> sqlite3.Connection:
        raw = self._raw = self._connect()
        raw.set_progress_handler(self._look, LOOK)
        return raw

    def _look(self) -> bool:
        self._looks += 1
        return self._looks > BUDGET

    def read(self, compiled: Compiled[Any], arguments: Sequence[Any], observing: Observing) -> list[Any] | None:
        """Return a point read's rows, or None when a thread had better read them."""
        self._looks = 0
        running = observing.begin(compiled, compiled.text, arguments) if observing.listens else None
        try:
            rows = (self._raw or self._open()).execute(compiled.text, arguments).fetchall()
        except (sqlite3.Error, AgentDBError, OverflowError, ValueError):
            return None  # over budget, or busy, or an error that the thread will meet again and tell
        if running is not None:
            running.ended(len(rows))
        return rows

    def close(self) -> None:
        """Close the connection."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None
