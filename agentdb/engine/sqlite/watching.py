"""Telling what changed on SQLite: in this process at once; other processes' commits are looked for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

from agentdb.engine.watching import Watch, Watches

LOOK_SECONDS: Final = 0.05


class News:
    """What changes in one database.

    While somebody watches, the file's number of commits is looked at twenty times a second, which takes microseconds:
    it rises with other processes' commits, and with those that did not go through a plan of this one.

    Args: connect: opens a connection to look through, on the event loop's own thread.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._watches = Watches()
        self._raw: sqlite3.Connection | None = None
        self._seen = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, topics: Collection[str]) -> None:
        """Tell that tables have changed, after the commit."""
        self._watches.tell(topics)

    @asynccontextmanager
    async def watch(self, topic: str) -> AsyncIterator[Watch]:
        """Watch a table: whatever is committed from now on is noticed.

        Raises: Unavailable when the database is closed.
        """
        try:
            with self._watches.watch(topic) as watch:
                if self._raw is None:
                    self._begin()
                yield watch
        finally:
            if not self._watches:
                self._end()

    def _begin(self) -> None:
        self._raw = self._connect()
        self._seen = _version(self._raw, self._seen)
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look, self._raw)

    def _look(self, raw: sqlite3.Connection) -> None:
        seen = _version(raw, self._seen)
        if seen != self._seen:
            self._seen = seen
            self._watches.tell_all()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look, raw)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def close(self) -> None:
        """Stop looking, and tell those who watch."""
        self._watches.close()
        self._end()


def _version(raw: sqlite3.Connection, seen: int) -> int:
    """Return a number that differs from the one before when somebody else has committed meanwhile."""
    try:
        version: int = raw.execute("PRAGMA data_version").fetchone()[0]
    except sqlite3.Error:
        return seen  # the file is busy for a moment: the next look will see it
    return version
