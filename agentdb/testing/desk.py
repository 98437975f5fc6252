"""Work behind the tests' backs: a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, TypeVar

R = TypeVar("R")


class Desk:
    """Does what it is given while tests run, in whatever loops they have."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="agentdb-desk", daemon=True)
        self._thread.start()
        self._given: set[Future[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Begin work, and return what its result will be in."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def close(self) -> None:
        """Let everything end, whether well or not, and the thread."""
        wait(list(self._given))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
