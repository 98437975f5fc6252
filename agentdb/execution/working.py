"""Workers: they claim executions, keep the leases of what they hold, and leave nothing behind when they end."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from agentdb.errors import BadInput, InvalidTransition, NotFound, StaleVersion, Unavailable
from agentdb.execution.desks import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Desk, Terms
from agentdb.execution.keeping import Keeper
from agentdb.execution.queued import Queued
from agentdb.execution.records import Backoff, Claim

Handler = Callable[[Claim], Awaitable[Any]]

LONGEST_ERROR: Final = 10_000

_logger: Final = logging.getLogger("agentdb")


def worker_name() -> str:
    """Return a name for a worker of this process: where to look for it, and a mark that no other has."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(3)}"


async def work(executions: Queued, terms: Terms) -> AsyncGenerator[Claim, None]:
    """Yield claims; see `Executions.work`."""
    async with executions.connection.watch(terms.topic) as watch:
        desk = Desk(executions, terms, watch)
        keeper = asyncio.create_task(Keeper(executions, terms, desk, _nothing, _nothing).run())
        try:
            while True:
                for claim in await desk.more():
                    if desk.holds(claim):  # those behind the first have waited
                        yield claim
        finally:
            await _end(desk, keeper)


def _nothing(_claim: Claim) -> None:
    """Whoever works on the claim sees that it is stopping."""


async def _end(desk: Desk, keeper: asyncio.Task[None]) -> None:
    try:
        await _cancelled(keeper)
    finally:
        await desk.clear()


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class _Reason(Enum):
    """Why a handler is cancelled, or why it is not any more."""

    lost = auto()
    wanted = auto()
    drained = auto()
    ended = auto()  # by itself; what came of it is being told


class Crew:
    """The handlers of one worker, each with its claim.

    Args:
        executions: where claims come from.
        terms: how the worker works.
        handler: works on a claim, and returns the execution's output.
        backoff: how long an execution rests whose handler has failed.
    """

    def __init__(self, executions: Queued, terms: Terms, handler: Handler, backoff: Backoff) -> None:
        self._executions = executions
        self._terms = terms
        self._handler = handler
        self._backoff = backoff
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._reasons: dict[tuple[int, int], _Reason] = {}
        self._leaving = False  # nobody is waited for any more

    async def run(self, drain_seconds: float) -> None:
        """Work until cancelled; then let handlers finish for a while, and give back what is not finished."""
        async with self._executions.connection.watch(self._terms.topic) as watch:
            desk = Desk(self._executions, self._terms, watch)
            keep = Keeper(self._executions, self._terms, desk, self._lost, self._wanted)
            keeper = asyncio.create_task(keep.run())
            try:
                while True:
                    for claim in await desk.more():
                        self._begin(desk, claim)
            finally:
                try:
                    if self._tasks:
                        await asyncio.wait(self._tasks.values(), timeout=drain_seconds)
                finally:
                    self._leaving = True
                    for key in list(self._tasks):
                        self._stop(key, _Reason.drained)
                    try:
                        if self._tasks:
                            await asyncio.wait(self._tasks.values())
                    finally:
                        await _end(desk, keeper)

    def _begin(self, desk: Desk, claim: Claim) -> None:
        key = (claim.id, claim.attempt)
        task = asyncio.create_task(self._handle(desk, claim), name=f"execution {claim.id}")
        self._tasks[key] = task

        def over(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                _logger.error("what came of execution %s could not be told, and it is left alone: %s", claim.id, error)
            self._tasks.pop(key, None)
            self._reasons.pop(key, None)
            if not self._leaving:  # else it is given back with all others
                desk.drop(claim)

        task.add_done_callback(over)

    def _lost(self, claim: Claim) -> None:
        self._stop((claim.id, claim.attempt), _Reason.lost)

    def _wanted(self, claim: Claim) -> None:
        self._stop((claim.id, claim.attempt), _Reason.wanted)

    def _stop(self, key: tuple[int, int], reason: _Reason) -> None:
        """Cancel a handler, once for each reason that is graver than the one before."""
        if key in self._tasks and (key not in self._reasons or reason is _Reason.drained):
            self._reasons.setdefault(key, reason)
            self._tasks[key].cancel()

    async def _handle(self, desk: Desk, claim: Claim) -> None:
        """Work on a claim, and say what came of it."""
        output, error, cancelled = None, None, False
        try:
            output = await self._handler(claim)
        except asyncio.CancelledError:
            error, cancelled = "the handler cancelled itself", True
        except Exception as raised:  # noqa: BLE001 (whatever it is: it is the execution's failure, not the worker's)
            error = error_text(raised)
        # From now on only the worker's own end cuts it short: a claim that is not told of would be kept for ever.
        reason = self._reasons.setdefault((claim.id, claim.attempt), _Reason.ended)
        if cancelled and reason is not _Reason.ended:
            if reason is _Reason.wanted:
                await self._say(claim, lambda: self._executions.stop(claim))
        elif error is not None:
            await self._fail(claim, error)
        elif not await desk.answer(claim, output):
            await self._complete(claim, output)

    async def _complete(self, claim: Claim, output: Any) -> None:
        executions = self._executions
        try:
            await self._say(claim, lambda: executions.complete(claim, output))
        except BadInput as error:
            await self._fail(claim, error_text(error), retry=False)

    async def _fail(self, claim: Claim, error: str, *, retry: bool = True) -> None:
        fail = partial(self._executions.fail, claim, error, retry=retry, backoff=self._backoff)
        await self._say(claim, fail)

    async def _say(self, claim: Claim, say: Callable[[], Awaitable[Any]]) -> None:
        """Tell the database what became of a claim, again while it is away: until then its lease is kept."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await say()
            except Unavailable:
                if self._leaving:
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except (StaleVersion, InvalidTransition, NotFound) as error:
                # The handler has finished it by itself, an answer was lost on its way, or others took over.
                _logger.debug("execution %s, attempt %s: %s", claim.id, claim.attempt, error)
                return
            else:
                return


def error_text(error: BaseException) -> str:
    """Return what is stored of an error: text that any database takes, and not without end."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text.replace("\0", "").encode(errors="replace").decode()[:LONGEST_ERROR]
