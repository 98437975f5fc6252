"""Waiting for other processes that write the same file, in turns with them.

SQLite's own waiting looks again after 1, 2 and 5 milliseconds, and at last every 100, while whoever has just written
begins again within one: the longer a process has waited, the more rarely it looks, and it may wait for seconds while
others write hundreds of times. Here everybody looks equally often, however long he has waited.
"""

from __future__ import annotations

import random
import sqlite3
import time
from typing import Any, Final

SHORTEST_PAUSE_SECONDS: Final = 0.001
LONGEST_PAUSE_SECONDS: Final = 0.003


class TurnTaking(sqlite3.Connection):
    """A connection that waits for other processes as said above, once it is told how long."""

    _patience_seconds = 0.0

    def take_turns(self, patience_seconds: float) -> None:
        """Wait so long from now on, and let SQLite not wait by itself."""
        self._patience_seconds = patience_seconds
        super().execute("PRAGMA busy_timeout = 0")

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement; one that finds the file held has done nothing, and is tried again."""
        try:
            return super().execute(sql, parameters)
        except sqlite3.OperationalError as error:
            if not self._patience_seconds or not _held(error):
                raise
        until = time.monotonic() + self._patience_seconds
        while True:
            time.sleep(random.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))  # noqa: S311 (spreads load, guards nothing)
            try:
                return super().execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if not _held(error) or time.monotonic() > until:
                    raise


def _held(error: sqlite3.OperationalError) -> bool:
    """Tell whether somebody else holds the file.

    A snapshot that is too old is no matter of waiting; nor is what this connection is busy with itself, for which
    SQLite has the same code and other words.
    """
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith("SQLITE_BUSY") and name != "SQLITE_BUSY_SNAPSHOT" and str(error) == "database is locked"
