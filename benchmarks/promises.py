"""What agentdb alone does, and promises: so many a second, or so much of the bare driver's speed for the same query."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import asyncpg

from agentdb import Database
from agentdb.testing.factories import make_user
from benchmarks.adapter import Kind, Place

RESERVERS: Final = 64
A_SECOND: Final[dict[Kind, int]] = {"postgresql": 1_500, "sqlite": 3_000}
OF_BARE: Final = 0.6

_BY_DIGEST: Final = """
SELECT k.id, k.uuid, k.name, k.scopes, k.expires_at, u.id, u.uuid, u.username, u.kind
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.digest = {0} AND k.is_active AND k.revoked_at IS NULL AND u.status = 'active'
  AND (k.expires_at IS NULL OR k.expires_at > {1})
"""


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise and what came of it."""

    name: str
    told: str
    is_met: bool


async def keep(database: Database, place: Place, seconds: float) -> list[Promise]:
    """Measure every promise on one database."""
    return [await _spending(database, place.kind, seconds), await _keys(database, place, seconds)]


def lines(promises: list[Promise]) -> Iterator[str]:
    """Yield what came of promises, as a table."""
    yield "| promise | measured | met |"
    yield "|---|---|---|"
    for promise in promises:
        yield f"| {promise.name} | {promise.told} | {'yes' if promise.is_met else 'NO'} |"


async def _rate(act: Callable[[], Awaitable[Any]], tasks: int, seconds: float) -> float:
    done = 0
    end = time.perf_counter() + seconds

    async def repeat() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await act()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(tasks)))
    return done / (time.perf_counter() - began)


async def _spending(database: Database, kind: Kind, seconds: float) -> Promise:
    """Reserve and settle for one hot user, under a limit of their own, a lead's and the installation's."""
    lead = await make_user(database)
    user = await make_user(database, lead_user_id=lead.id)
    for whose in ({"user_id": user.id}, {"user_id": lead.id, "covers": "tree"}, {}):
        await database.hub.limits.set(1_000_000, period="day", **whose)

    async def spend() -> None:
        reservation = await database.hub.reservations.reserve(user_id=user.id, amount=Decimal("0.02"))
        await database.hub.reservations.settle(reservation.id, source="chat", model="m", cost=Decimal("0.01"))

    await _rate(spend, RESERVERS, seconds / 4)
    rate = await _rate(spend, RESERVERS, seconds)
    assert (await database.hub.limits.of(user.id)).reserved == 0
    return Promise(
        f"reserve + settle, one hot user, 3 limits, {RESERVERS} tasks",
        f"{rate:,.0f} a second, at least {A_SECOND[kind]:,}",
        rate >= A_SECOND[kind],
    )


async def _keys(database: Database, place: Place, seconds: float) -> Promise:
    """Find a user by an access key, and do the bare driver's query beside it."""
    user = await make_user(database)
    issued = await database.supervisor.api_keys.issue(user.id, "benchmark", by=None)
    ratios = []
    async with _bare(place, sha256(issued.plaintext.encode()).hexdigest()) as bare:
        for _ in range(3):
            theirs = await _rate(bare, 1, seconds / 3)
            ours = await _rate(lambda: database.supervisor.api_keys.authenticate(issued.plaintext), 1, seconds / 3)
            ratios.append(ours / theirs)
    ratio = sorted(ratios)[1]
    return Promise(
        "a user by access key, 1 task", f"{ratio:.2f} of the bare driver, at least {OF_BARE}", ratio >= OF_BARE
    )


@asynccontextmanager
async def _bare(place: Place, digest: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    if place.path is not None:
        file = sqlite3.connect(place.path)
        text = _BY_DIGEST.format("?", "?")

        async def read() -> Any:
            return file.execute(text, (digest, "2026-01-01T00:00:00.000000+00:00")).fetchone()

        try:
            yield read
        finally:
            file.close()
        return
    connection = await asyncpg.connect(**place.server)
    text = _BY_DIGEST.format("$1", "now()")
    try:
        yield lambda: connection.fetchrow(text, digest)
    finally:
        await connection.close()
