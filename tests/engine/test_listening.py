"""Followers that are cancelled while their connection is being made: it is closed, and nothing is said of it."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from agentdb.database import Database

LOG = "context_log"


async def _follow(db: Database) -> None:
    async with db._there().watch(LOG) as watch:
        await watch.wait(60)


@pytest.mark.long
async def test_a_follower_cancelled_while_connecting_leaves_no_exception_behind(agentdb_postgresql: Database) -> None:
    db, said = agentdb_postgresql, list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))

    for turns in range(0, 120, 3):
        following = asyncio.create_task(_follow(db))
        for _ in range(turns):
            await asyncio.sleep(turns % 2 / 4000)  # within one step of connecting, and across all of them
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
    await db.close()
    gc.collect()
    await asyncio.sleep(0)

    assert said == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
