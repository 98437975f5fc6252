"""Sharing: calls that need a transaction each, of the same kind and at the same time, are done in one.

What one statement cannot answer for many (`joining`) a script may: it locks once, decides for all, and writes once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from agentdb.engine.connection import Shared, Work
from agentdb.engine.joining import Joiner, Undone
from agentdb.engine.observing import Observing
from agentdb.errors import AgentDBError, Contended, Unavailable

C = TypeVar("C")
R = TypeVar("R")

MOST_SHARED: Final = 128
PATIENCE_SECONDS: Final = 0.1  # what those who wait would lock is mostly what the others have locked
RELIEF: Final = 5

Asked: TypeAlias = tuple[Shared[Any, Any], Any]  # work, and a call of it


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
        self._joiners: dict[str, Joiner[Asked, Any]] = {}

    async def __call__(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call: alone when nothing that locks the same is in flight, else with those of its kind that wait."""
        if not self._joining:
            return await alone(self._runs, shared, call)
        joiner = self._joiners.get(shared.locks)
        if joiner is None:
            # One lane: a second batch would only wait for what the first has locked.
            joiner = self._joiners[shared.locks] = Joiner(
                self._alone,
                self._together,
                lanes=1,
                most=MOST_SHARED,
                most_alone=4,
                patience=PATIENCE_SECONDS,
                relief=RELIEF,
                alike=itemgetter(0),
                observing=self._observing,
                queue="shared calls",
            )
        answer: R = await joiner((shared, call))
        return answer

    async def _alone(self, asked: Asked) -> Any:
        return await alone(self._runs, *asked)

    async def _together(self, asked: Sequence[Asked]) -> Sequence[Any]:
        """Answer many calls of one kind.

        Raises: Undone when nothing was stored for certain; a lost connection says nothing. A lock that was waited for
            is told to all: asked one by one, each would wait as long again.
        """
        try:
            shared = asked[0][0]
            return await self._runs.run(shared.of([call for _, call in asked], self._runs.now()))
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
