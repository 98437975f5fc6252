"""The server's clock, measured."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from agentdb import clock
from agentdb.engine.postgresql.server_clock import ServerClock
from agentdb.errors import Unavailable


async def test_a_server_that_is_ahead_is_followed() -> None:
    async def ask() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    server = ServerClock(ask)
    await server.measure()

    assert abs(server.now() - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=5)


async def test_a_held_clock_knows_of_no_server() -> None:
    async def ask() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    server = ServerClock(ask)
    await server.measure()
    held = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    with clock.hold(held):
        assert server.now() == held


async def test_a_server_that_is_away_is_asked_again_later_and_nothing_is_raised() -> None:
    asked = 0

    async def ask() -> datetime:
        nonlocal asked
        asked += 1
        raise Unavailable("away")

    server = ServerClock(ask)
    server.now()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.now()
    await server.close()

    assert asked == 1
