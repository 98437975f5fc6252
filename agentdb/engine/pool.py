"""A bare pool: a deque of idle connections, a count of those that exist, a queue of those who wait.

A connection is clean by construction, so giving one back is no round trip. One that may carry state is cleaned or
closed in the background before anyone else sees it; its place stays taken meanwhile, and is never lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from agentdb.engine.observing import Observing
from agentdb.errors import Unavailable

C = TypeVar("C")

CLOSING_SECONDS: Final = 5.0


class Pool(Generic[C]):
    """Connections of one kind, at most ``size`` of them.

    Args:
        connect: makes one.
        usable: tells, without asking the server, whether one can still be used.
        clean: makes one that may carry state as good as new; False when it has to be closed instead.
        discard: closes one.
        observing: who is told how long callers wait.
        name: what they are told it is called.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[C]],
        usable: Callable[[C], bool],
        clean: Callable[[C], Awaitable[bool]],
        discard: Callable[[C], Awaitable[None]],
        size: int,
        timeout_seconds: float,
        observing: Observing | None = None,
        name: str = "",
    ) -> None:
        self._connect = connect
        self._usable = usable
        self._clean = clean
        self._discard = discard
        self._size = size
        self._timeout = timeout_seconds
        self._observing = observing or Observing()
        self._name = name
        self._idle: deque[C] = deque()
        self._out: set[C] = set()
        self._places = 0  # taken by a connection that exists or is being made
        # A waiter is handed a connection, or None: a place of its own to make one in.
        self._waiting: deque[asyncio.Future[C | None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._back: asyncio.Future[None] | None = None  # set when the last one that is out comes back

    def take(self) -> C | None:
        """Return an idle connection at once, or None when there is none."""
        while self._idle:
            connection = self._idle.pop()  # the latest: its caches are warm
            if self._usable(connection):
                self._out.add(connection)
                return connection
            self._places -= 1
        return None

    async def acquire(self) -> C:
        """Return a connection: an idle one, a new one, or the next to come back; first come, first served.

        Raises: Unavailable when none comes back in time, or the pool is closed.
        """
        if self._closed:
            raise Unavailable("the database is closed; open it again before using it")
        connection = self.take()
        if connection is None and self._places < self._size:
            self._places += 1
            return await self._make()
        return connection or await self._wait() or await self._make()

    async def _make(self) -> C:
        """Make a connection in a place that is ours already."""
        try:
            connection = await self._connect()
        except BaseException:
            self._vacate()
            raise
        self._out.add(connection)
        if self._closed:
            self.release(connection)
            raise Unavailable("the database was closed while a connection was being made")
        return connection

    async def _wait(self) -> C | None:
        future: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        waiting = self._observing.waiting(self._name)
        try:
            async with asyncio.timeout(self._timeout):
                handed = await future
            if waiting is not None:
                waiting.ended()
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._return(future.result())  # handed over at the very moment this caller gave up
            elif future in self._waiting:
                self._waiting.remove(future)
            if waiting is not None:
                waiting.ended((Unavailable if isinstance(error, TimeoutError) else type(error)).__name__)
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"no connection became free within {self._timeout:g} s, of {self._size}; "
                    "raise AGENTDB_POOL_SIZE or hold units for a shorter time"
                ) from None
            raise
        return handed

    def _return(self, handed: C | None) -> None:
        if handed is None:
            self._vacate()
        else:
            self.release(handed)

    def release(self, connection: C, *, clean: bool = True) -> None:
        """Give a connection back; ``clean=False`` when it may carry state or an answer under way."""
        if connection not in self._out:
            return
        if not self._usable(connection):
            self._forget(connection)
            self._vacate()
        elif clean and not self._closed:
            self._hand_on(connection)
        else:
            task = asyncio.get_running_loop().create_task(self._restore(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _restore(self, connection: C) -> None:
        good = False
        try:
            good = not self._closed and await self._clean(connection)
        finally:
            # Whatever happened, the place is not lost; a connection that is not known to be good is closed.
            if good and not self._closed and self._usable(connection):
                self._hand_on(connection)
            else:
                try:
                    await self._discard(connection)
                finally:
                    self._forget(connection)
                    self._vacate()

    def _hand_on(self, connection: C) -> None:
        """Give a clean connection to whoever has waited longest, or lay it aside."""
        waiter = self._longest_waiting()
        if waiter is None:
            self._forget(connection)
            self._idle.append(connection)
        else:
            waiter.set_result(connection)

    def _forget(self, connection: C) -> None:
        """Note that a connection is not out any more."""
        self._out.discard(connection)
        if self._back is not None and not self._out and not self._back.done():
            self._back.set_result(None)

    def _vacate(self) -> None:
        """Give a place to whoever has waited longest, or give it up."""
        waiter = self._longest_waiting()
        if waiter is None:
            self._places -= 1
        else:
            waiter.set_result(None)

    def _longest_waiting(self) -> asyncio.Future[C | None] | None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                return future
        return None

    async def drain(self) -> None:
        """Close the idle connections; new ones are made as they are needed."""
        while self._idle:
            self._places -= 1
            await self._discard(self._idle.pop())

    async def close(self) -> None:
        """Let statements and units in flight end, and close every connection.

        A unit that takes longer than a few seconds is not waited for: it may be the very one that closes. It is closed
        when it comes back.
        """
        self._closed = True
        while (waiter := self._longest_waiting()) is not None:
            waiter.set_exception(Unavailable("the database was closed while a connection was waited for"))
        if self._out:
            self._back = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._back], timeout=CLOSING_SECONDS)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.drain()

    @property
    def in_use(self) -> int:
        """How many connections are out."""
        return len(self._out)

    @property
    def waiting(self) -> int:
        """How many callers wait for one."""
        return len(self._waiting)
