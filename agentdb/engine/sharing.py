"""Sharing: calls that need a transaction each, of the same kind and at the same time, are done in one.

What one statement cannot answer for many (`joining`) a script may: it locks once, decides for all, and writes once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from agentdb.engine.connection import Shared, Work
from agentdb.engine.joining import Joiner, Undone
from agentdb.engine.observing import Observing
from agentdb.errors import AgentDBError, Contended, Unavailable

C = TypeVar("C")
R = TypeVar("R")

MOST_SHARED: Final = 128


class Runs(Protocol):
    """What runs scripts: an engine, or an open transaction."""

    def run(self, work: Work[R]) -> Awaitable[R]:
        """Run a script in one transaction."""
        ...

    def now(self) -> datetime:
        """Return the present moment."""
        ...


async def alone(runs: Runs, shared: Shared[C, R], call: C) -> R:
    """Answer one call.

    Raises: the call's own error.
    """
    answer = (await runs.run(shared.of([call], runs.now())))[0]
    if isinstance(answer, AgentDBError):
        raise answer
    return answer


class Sharing:
    """The calls of shared work on one engine.

    Args:
        runs: the engine.
        joining: False: each call is made alone.
        observing: who is told how long calls wait.
    """

    def __init__(self, runs: Runs, *, joining: bool, observing: Observing) -> None:
        self._runs = runs
        self._joining = joining
        self._observing = observing
        self._joiners: dict[Shared[Any, Any], Joiner[Any, Any]] = {}

    async def __call__(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call: at once when none of its kind is in flight, else together with those that wait too."""
        if not self._joining:
            return await alone(self._runs, shared, call)
        joiner = self._joiners.get(shared)
        if joiner is None:
            # One lane: what calls of a kind lock is mostly the same, and a second batch would only wait for the first.
            joiner = self._joiners[shared] = Joiner(
                partial(alone, self._runs, shared),
                partial(self._together, shared),
                lanes=1,
                most=MOST_SHARED,
                most_alone=4,
                patient=False,
                observing=self._observing,
                queue="shared calls",
            )
        answer: R = await joiner(call)
        return answer

    async def _together(self, shared: Shared[C, R], calls: Sequence[C]) -> Sequence[R | AgentDBError]:
        """Answer many calls.

        Raises: Undone when nothing was stored for certain; a lost connection says nothing. A lock that was waited for
            is told to all: asked one by one, each would wait as long again.
        """
        try:
            return await self._runs.run(shared.of(calls, self._runs.now()))
        except Unavailable as error:
            if isinstance(error, Contended) and not error.waited:
                raise Undone from error
            raise
        except Exception as error:
            raise Undone from error

    async def close(self) -> None:
        """Wait until everything in flight is answered."""
        for joiner in self._joiners.values():
            await joiner.close()
