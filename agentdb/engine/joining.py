"""Joining: calls that arrive while earlier ones are in flight are answered together.

No artificial delay: a lone call runs at once in its own task. Each caller is answered only after its own work is
committed, and one caller's bad row, or cancellation, touches that caller alone.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from agentdb.engine.events import Waiting, answering
from agentdb.engine.observing import Observing
from agentdb.engine.plan import ALONE

A = TypeVar("A")
R = TypeVar("R")

# A call that waits: for what, and, when somebody listens, since when.
Waiter: TypeAlias = tuple[A, asyncio.Future[R], Waiting | None]


class Undone(Exception):
    """A batch has certainly stored nothing: its members may be run again, each alone."""


PATIENCE_SECONDS: Final = 0.05  # of those whose locks are mostly different ones


class Joiner(Generic[A, R]):
    """Runs one call alone and many calls together.

    Args:
        alone: answers one call.
        together: answers many: for each its result, or the exception that is its own, or ALONE. It raises Undone
            when the batch as a whole failed without effect: its members are then run alone. After any other error they
            are all told it, since what may be stored must not be stored twice.
        lanes: how many batches may be in flight at once.
        most: how many calls make a full batch.
        most_alone: how many members of failed batches run alone at once.
        patience: seconds after which another lane opens for those who still wait, so that a call that waits for a
            lock holds up few strangers. None: callers wait as long as it takes.
        relief: how many lanes may open so; None: as many again.
        alike: returns the one object that calls of a batch have in common; others wait for theirs. None: all may.
        observing: who is told how long calls wait.
        queue: what they are told it is called.
    """

    __slots__ = (
        "_alike",
        "_alone",
        "_busy",
        "_idle",
        "_lanes",
        "_most",
        "_most_lanes",
        "_observing",
        "_patience",
        "_queue",
        "_relief",
        "_room",
        "_tasks",
        "_together",
        "_waiting",
    )

    def __init__(
        self,
        alone: Callable[[A], Awaitable[R]],
        together: Callable[[Sequence[A]], Awaitable[Sequence[R | BaseException]]],
        *,
        lanes: int,
        most: int,
        most_alone: int,
        patience: float | None,
        relief: int | None = None,
        alike: Callable[[A], object] | None = None,
        observing: Observing | None = None,
        queue: str = "",
    ) -> None:
        self._alone = alone
        self._together = together
        self._lanes = lanes
        self._most = most
        self._patience = patience
        self._most_lanes = lanes + (lanes if relief is None else relief)
        self._alike = alike
        self._observing = observing or Observing()
        self._queue = queue
        self._room = asyncio.Semaphore(most_alone)
        self._relief: asyncio.TimerHandle | None = None
        self._busy = 0
        self._waiting: deque[Waiter[A, R]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Future[None] | None = None

    async def __call__(self, call: A) -> R:
        """Answer a call, alone when nothing is in flight."""
        if self._busy < self._lanes and not self._waiting:
            self._busy += 1
            try:
                return await self._alone(call)
            finally:
                self._next()
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future, self._observing.waiting(self._queue)))
        self._expect_relief()
        return await future

    def _expect_relief(self) -> None:
        if self._relief is None and self._patience is not None:
            loop = asyncio.get_running_loop()
            self._relief = loop.call_later(self._patience, self._relieve, self._waiting[0][1])

    def _relieve(self, first: asyncio.Future[R]) -> None:
        """Open another lane when the caller who waited longest still does."""
        self._relief = None
        if self._waiting and self._waiting[0][1] is first and self._busy < self._most_lanes:
            self._busy += 1
            self._next()
        if self._waiting:
            self._expect_relief()

    def _next(self) -> None:
        """Give a lane that has become free to those who wait."""
        if not self._waiting:
            self._leave()
            return
        self._spawn(self._drain())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
                # Those just answered may call again: one turn of the loop lets them into the next batch.
                await asyncio.sleep(0)
        finally:
            self._leave()

    def _leave(self) -> None:
        self._busy -= 1
        if self._idle is not None and not self._busy and not self._idle.done():
            self._idle.set_result(None)

    def _take(self) -> list[Waiter[A, R]]:
        batch: list[Waiter[A, R]] = []
        others: list[Waiter[A, R]] = []
        while self._waiting and len(batch) < self._most:
            waiter = self._waiting.popleft()
            gone = waiter[1].done()
            if batch and self._alike is not None and self._alike(waiter[0]) is not self._alike(batch[0][0]):
                others.append(waiter)
                continue
            if not gone:  # a caller that was cancelled while it waited has left no trace
                batch.append(waiter)
            if waiter[2] is not None:
                waiter[2].ended("CancelledError" if gone else None)
        self._waiting.extendleft(reversed(others))
        return batch

    async def _answer(self, batch: Sequence[Waiter[A, R]]) -> None:
        if len(batch) == 1:
            await self._answer_one(*batch[0])
            return
        answering([waiting for _, _, waiting in batch])
        try:
            answers = await self._together([call for call, _, _ in batch])
        except Undone:
            for waiter in batch:
                self._spawn(self._answer_alone(*waiter))
            return
        except Exception as error:  # noqa: BLE001 (it is handed to the callers)
            for _, future, _ in batch:
                _settle(future, copy.copy(error))
            return
        except BaseException:
            for _, future, _ in batch:
                future.cancel()
            raise
        for waiter, answer in zip(batch, answers, strict=True):
            if answer is ALONE:
                self._spawn(self._answer_alone(*waiter))
            else:
                _settle(waiter[1], answer)

    async def _answer_alone(self, call: A, future: asyncio.Future[R], waiting: Waiting | None) -> None:
        """Answer a member of a batch that failed or passed it by, together with few others at once."""
        async with self._room:
            await self._answer_one(call, future, waiting)

    async def _answer_one(self, call: A, future: asyncio.Future[R], waiting: Waiting | None) -> None:
        if future.done():
            return
        answering([waiting])
        try:
            answer = await self._alone(call)
        except Exception as error:  # noqa: BLE001 (it is handed to its caller)
            _settle(future, error)
        else:
            _settle(future, answer)

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    async def close(self) -> None:
        """Wait until everything in flight is answered."""
        if self._relief is not None:
            self._relief.cancel()
            self._relief = None
        while self._busy:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        while self._tasks:
            await asyncio.wait(self._tasks)


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
