"""One task at a time: whose turn it is on a transaction's connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentdb.errors import BadInput


class Turns:
    """Refuses a second task while a first one's statement is under way, and everything once the unit is over or failed.

    PostgreSQL ends a transaction at its first error; SQLite would go on. Here a unit has failed on both.
    """

    __slots__ = ("_closed", "_savepoints", "_task", "failed")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._closed = False
        self._savepoints = 0
        self.failed = False

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the turn for one statement."""
        self.refuse_after_the_end()
        if self._task is not None:
            raise BadInput("a unit serves one task at a time; await its calls in turn, or open a unit for each task")
        if self.failed:
            raise BadInput("the unit has failed already; use `async with unit.savepoint():` around what may fail")
        self._task = asyncio.current_task()
        try:
            yield
        except BaseException:
            self.failed = True
            raise
        finally:
            self._task = None

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let the unit fail when what is prepared for a statement cannot be stored."""
        try:
            yield
        except BaseException:
            self.failed = True
            raise

    def refuse_after_the_end(self) -> None:
        """Refuse what comes after the block.

        Raises: BadInput.
        """
        if self._closed:
            raise BadInput("the unit is over; open another with write() or read()")

    def close(self) -> None:
        """Refuse whatever comes now."""
        self._closed = True

    def savepoint(self) -> str:
        """Return a name for the next savepoint."""
        self._savepoints += 1
        return f"agentdb_{self._savepoints}"
