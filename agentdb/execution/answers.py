"""What handlers have finished, kept for the moment at which the worker claims again: one statement does both."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from agentdb.execution.records import Claim


class Answers:
    """Finished claims that nobody has told the database of yet."""

    def __init__(self) -> None:
        self._given: list[tuple[Claim, Any, asyncio.Future[bool]]] = []
        self._come = asyncio.Event()
        self._open = False

    def __bool__(self) -> bool:
        return bool(self._given)

    async def give(self, claim: Claim, output: Any) -> bool:
        """Have an answer told with others, and return whether it was: if not, whoever gave it tells it."""
        if not self._open:
            return False
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._given.append((claim, output, told))
        self._come.set()
        return await told

    async def wait(self) -> None:
        """Wait until there is one."""
        self._come.clear()
        if not self._given:
            await self._come.wait()

    def wake(self) -> None:
        """End the waiting: there is something else to do."""
        self._come.set()

    def take(self) -> list[tuple[Claim, Any, asyncio.Future[bool]]]:
        """Return all there are, to be settled by the caller."""
        given, self._given = self._given, []
        return given

    def open(self) -> None:
        """Take answers: from now on they are looked for."""
        self._open = True

    def close(self) -> None:
        """Take no more, and give back what is there."""
        self._open = False
        settle(self.take(), ())


def settle(given: Collection[tuple[Claim, Any, asyncio.Future[bool]]], told: Collection[tuple[int, int]]) -> None:
    """Let those who gave answers go on.

    Args: told: the ids and attempts of those that the database knows of.
    """
    for claim, _, future in given:
        if not future.done():
            future.set_result((claim.id, claim.attempt) in told)
