"""Reserving and settling money for one hot user, under three limits."""

from __future__ import annotations

import statistics
from decimal import Decimal
from typing import Final

from agentdb.testing.factories import make_user
from benchmarks.adapter import Kind
from benchmarks.promises.measuring import Promise, Stage, rate

RESERVERS: Final = 64
A_SECOND: Final[dict[Kind, int]] = {"postgresql": 1_500, "sqlite": 3_000}


async def keep(stage: Stage) -> list[Promise]:
    """Reserve and settle under a limit of the user's own, a lead's and the installation's."""
    database = stage.database
    lead = await make_user(database)
    user = await make_user(database, lead_user_id=lead.id)
    for whose in ({"user_id": user.id}, {"user_id": lead.id, "covers": "tree"}, {}):
        await database.hub.limits.set(1_000_000, period="day", **whose)

    async def spend() -> None:
        reservation = await database.hub.reservations.reserve(user_id=user.id, amount=Decimal("0.02"))
        await database.hub.reservations.settle(reservation.id, source="chat", model="m", cost=Decimal("0.01"))

    reached = statistics.median([await rate(spend, stage.seconds, RESERVERS) for _ in range(stage.rounds)])
    assert (await database.hub.limits.of(user.id)).reserved == 0
    wanted = A_SECOND[stage.kind]
    name = f"reserve + settle, one hot user, 3 limits, {RESERVERS} tasks"
    return [Promise(name, f"{reached:,.0f} a second, at least {wanted:,}", reached >= wanted)]
