"""What grows old: leases of workers that died, money set aside and never spent, memories and logins past their time."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agentdb import Database, Unavailable

EVERY_SECONDS: Final = 15.0

_log: Final = logging.getLogger(__name__)


async def look_after(db: Database) -> None:
    """Look after what grows old, every now and then, until cancelled. Several processes may do so at once."""
    while True:
        try:
            await _once(db)
        except Unavailable as error:
            _log.warning("upkeep waits: %s", error)
        await asyncio.sleep(EVERY_SECONDS)


async def _once(db: Database) -> None:
    await db.execution.executions.rescue()
    await db.hub.reservations.expire()
    await db.hub.limits.evaluate()
    await db.integration.connections.expire()
    await db.knowledge.memories.purge(most=1000)
    await db.supervisor.logins.purge()
