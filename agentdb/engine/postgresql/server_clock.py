"""The server's clock: this machine's, and the measured difference, so that leases agree across machines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from agentdb import clock
from agentdb.errors import AgentDBError

TRUSTED_SECONDS: Final = 300.0
QUESTIONS: Final = 3


class ServerClock:
    """Tells the server's time without asking it each time.

    Args: ask: asks the server for its time; raises errors of ours.
    """

    def __init__(self, ask: Callable[[], Awaitable[datetime]]) -> None:
        self._ask = ask
        self._ahead = timedelta(0)
        self._measured_at = float("-inf")
        self._measuring: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        """Return the server's present moment; a measurement that has grown old is renewed in the background."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._measured_at > TRUSTED_SECONDS and self._measuring is None:
            self._measuring = loop.create_task(self._measure_again())
        return clock.now(self._ahead)

    async def measure(self) -> None:
        """Take the difference from the quickest of a few answers: half of the time it took is the way there."""
        loop = asyncio.get_running_loop()
        quickest = float("inf")
        for _ in range(QUESTIONS):
            before, asked = loop.time(), datetime.now(UTC)
            there = await self._ask()
            took = loop.time() - before
            if took < quickest:
                quickest = took
                self._ahead = there - asked - timedelta(seconds=took / 2)
        self._measured_at = loop.time()

    async def _measure_again(self) -> None:
        try:
            await self.measure()
        except AgentDBError:
            # The server is away; the difference that is known still holds, and a later call tries again.
            self._measured_at = asyncio.get_running_loop().time() - TRUSTED_SECONDS / 2
        finally:
            self._measuring = None

    async def close(self) -> None:
        """End a measurement that is under way."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait([self._measuring])
