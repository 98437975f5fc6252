"""Trying whole transactions again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from agentdb.errors import Contended

R = TypeVar("R")

FIRST_PAUSE_SECONDS: Final = 0.01
LONGEST_PAUSE_SECONDS: Final = 1.0


async def retrying(attempt: Callable[[], Awaitable[R]], *, attempts: int) -> R:
    """Return what ``attempt`` returns, running the whole of it again while other transactions are in its way.

    The pauses double, with full jitter, so that those who collided once do not collide again.

    Raises: Contended when the last attempt was contended too, or has waited for a lock long enough; anything else at
        once.
    """
    for tried in range(attempts - 1):
        try:
            return await attempt()
        except Contended as error:
            if error.waited:
                raise
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**tried)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 (spreads load, guards nothing)
    return await attempt()
