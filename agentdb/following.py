"""Following a table: each new or changed row once, as it is committed, from wherever a cursor names.

A follower reads, and sleeps until it is told of a commit. It also looks by itself: every second, and for a while after
a change more often, since not every writer tells, and what was told may still be held back (see `agentdb.trails`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, TypeVar

from agentdb.base import Entity
from agentdb.engine.asked import finite
from agentdb.engine.connection import Connection
from agentdb.engine.watching import Watch
from agentdb.errors import BadInput, Unavailable, brief
from agentdb.trails import NOW, Change, Place, Trail

__all__ = ["NOW", "Change", "Trail", "follow"]

E = TypeVar("E", bound=Entity)
R = TypeVar("R")

BATCH: Final = 200
SOON_SECONDS: Final = 0.01
LONGEST_REST_SECONDS: Final = 0.1
FIRST_RETRY_SECONDS: Final = 0.1
LONGEST_RETRY_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 300.0


def follow(
    connection: Connection, trail: Trail[E], *, after: str | None = None, poll_seconds: float = 1.0, batch: int = BATCH
) -> AsyncGenerator[Change[E], None]:
    """Yield what changes, as it is committed; it ends when its caller closes it, or is cancelled.

    While the database is away it is asked again and again, for five minutes.

    Args:
        connection: the database itself, not a unit.
        trail: what is followed, and in which order.
        after: a `Change.cursor`, or what `Trail.cursor` gave; None: from the beginning; NOW: what is committed after
            the first step.
        poll_seconds: how often it looks while it is told nothing, and how seldom at most after a change.
        batch: how many rows are read at a time.

    Raises:
        BadInput: in a unit, or for a cursor of something else, or of another server.
        Unavailable: when the database is closed, or is away for too long.

    Cost: one statement for each batch, and one each ``poll_seconds`` while nothing happens; a few more after a change.
    """
    if finite(poll_seconds, "poll_seconds") <= 0:
        raise BadInput(f"poll_seconds is a number above 0, not {brief(poll_seconds)}")
    start = None if after == NOW else trail.place(after)
    return _follow(connection, trail, connection.watch(trail.topic), start, _Pace(poll_seconds), batch)


async def _follow(
    connection: Connection,
    trail: Trail[E],
    watching: AbstractAsyncContextManager[Watch],
    start: Place | None,
    pace: _Pace,
    batch: int,
) -> AsyncGenerator[Change[E], None]:
    async with watching as watch:
        place = await _patiently(watch, partial(trail.end, connection)) if start is None else start
        await _patiently(watch, partial(trail.check, connection, place))
        while True:
            rows = await _patiently(watch, partial(trail.read, connection, place, batch))
            for row in rows:
                place = trail.behind(place, row)
                yield Change(row, trail.cursor(place))
            if len(rows) < batch:
                await pace.rest(watch, found=bool(rows))


class _Pace:
    """How long a follower rests: soon after a change it looks again, then ever later.

    What it was told of may be held back by a transaction, or may be another's row. In the second case it is told again
    and again, and does not look each time at once.
    """

    def __init__(self, poll_seconds: float) -> None:
        self._poll = self._pause = poll_seconds
        self._told = False
        self._deaf = 0.0  # how long it does not react to being told, after looking in vain

    async def rest(self, watch: Watch, *, found: bool) -> None:
        """Wait until it is time to look."""
        if found:
            self._pause, self._deaf = min(SOON_SECONDS, self._poll), 0.0
        elif self._told:
            self._deaf = min(max(2 * self._deaf, SOON_SECONDS), LONGEST_REST_SECONDS)
        elif self._pause >= self._poll:
            self._deaf = 0.0
        self._told = await watch.wait(self._pause)
        if self._told:
            self._pause = min(SOON_SECONDS, self._poll)
            await asyncio.sleep(self._deaf)
        else:
            self._pause = min(2 * self._pause, self._poll)


async def _patiently(watch: Watch, ask: Callable[[], Awaitable[R]]) -> R:
    """Ask the database, again while it is away.

    Raises: Unavailable when it stays away, or is closed.
    """
    loop = asyncio.get_running_loop()
    began, pause = loop.time(), FIRST_RETRY_SECONDS
    while True:
        try:
            return await ask()
        except Unavailable:
            if loop.time() - began > PATIENCE_SECONDS:
                raise
        await watch.wait(pause)
        pause = min(2 * pause, LONGEST_RETRY_SECONDS)
