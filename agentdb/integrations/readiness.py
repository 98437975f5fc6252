"""Whether a database is fit to take requests, as load balancers ask it."""

from __future__ import annotations

import asyncio
from typing import Final

from agentdb.database import Database, Health
from agentdb.errors import Unavailable

WITHIN_SECONDS: Final = 5.0  # orchestrators give up on a probe after 1 to 10


async def require_ready(database: Database) -> Health:
    """Return how the connections are doing.

    Raises: Unavailable when the database does not answer, or not in time, as when every connection is taken.
    """
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            state = await database.health()
    except TimeoutError:
        raise Unavailable(f"the database did not answer within {WITHIN_SECONDS:g} s") from None
    if not state.alive:
        raise Unavailable(state.problem or "the database does not answer")
    return state
