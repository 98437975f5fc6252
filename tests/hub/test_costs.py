"""The ledger: charged once, summed exactly."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference

CENT = Decimal("0.01")


async def test_a_request_told_64_times_is_charged_once(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    run = await db.hub.runs.start(user_id=user.id, model_name="m")

    costs = await asyncio.gather(
        *(
            db.hub.costs.append(
                source="console", model="m", cost=CENT, user_id=user.id, run_session_id=run.id, request_id="q"
            )
            for _ in range(64)
        )
    )

    assert len({cost.id for cost in costs}) == 1
    assert (await db.hub.runs.get(run.id)).total_cost == CENT
    assert (await db.hub.costs.total(user_id=user.id)).calls == 1


async def test_costs_appended_at_once_add_up_exactly(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    run = await db.hub.runs.start(user_id=user.id, model_name="m")
    amounts = [Decimal(number) / 1_000_000_000 for number in range(1, 41)]

    await asyncio.gather(
        *(
            db.hub.costs.append(
                source="console", model="m", cost=amount, user_id=user.id, run_session_id=run.id, input_tokens=3
            )
            for amount in amounts
        )
    )

    total = await db.hub.costs.total(user_id=user.id)
    assert (total.calls, total.input_tokens, total.cost) == (40, 120, sum(amounts))
    assert (await db.hub.runs.get(run.id)).total_cost == sum(amounts)


async def test_totals_are_by_one_thing_and_within_a_window(db: Database) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with clock.hold(start) as hand:
        for source, model in (("console", "a"), ("chat", "a"), ("chat", "b")):
            await db.hub.costs.append(source=source, model=model, cost=CENT)
            hand.forward(timedelta(hours=1))

    costs = db.hub.costs
    assert (await costs.total()).cost == 3 * CENT
    assert (await costs.total(model="a")).calls == 2
    assert (await costs.total(source="chat")).calls == 2
    assert (await costs.total(since=start + timedelta(hours=1))).calls == 2
    assert (await costs.total(until=start + timedelta(hours=1))).calls == 1
    assert (await costs.total(user_id=99)).cost == 0
    with pytest.raises(BadInput):
        await costs.total(model="a", source="chat")


async def test_a_correction_may_be_negative_and_nothing_else(db: Database) -> None:
    cost = await db.hub.costs.append(source="console", model="m", cost=CENT)

    await db.hub.costs.correct(cost.id, cost=Decimal(0))
    with pytest.raises(BadInput, match="ck_costs__amounts"):
        await db.hub.costs.append(source="console", model="m", cost=-CENT)

    assert (await db.hub.costs.total()).cost == 0


async def test_a_cost_of_no_session_is_refused_and_charges_nothing(db: Database) -> None:
    with pytest.raises(MissingReference) as caught:
        await db.hub.costs.append(source="console", model="m", cost=CENT, run_session_id=99)

    assert caught.value.constraint == "fk_costs__run_session_id"
    assert (await db.hub.costs.total()).calls == 0
