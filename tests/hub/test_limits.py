"""Spend limits: what they leave room for, whom they suspend, and when that ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, BudgetExceeded, MissingReference, NotFound
from agentdb.hub.models.spending import LimitCovers
from agentdb.models import User
from agentdb.testing.factories import make_run_session, make_user

CENT = Decimal("0.01")
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def charge(db: Database, user_id: int, cost: str) -> None:
    await db.hub.costs.append(source="console", model="m", cost=Decimal(cost), user_id=user_id)


async def test_a_batch_of_a_subagent_counts_to_its_user(db: Database) -> None:
    user = await make_user(db)
    main = await make_run_session(db, user_id=user.id)
    sub = await db.hub.runs.next_session(run_id=main.run_id, subagent_id=-1, model_name="m")
    await db.hub.limits.set(5, user_id=user.id)

    costs = await db.hub.costs.append_many(
        {"source": "console", "model": "m", "cost": Decimal(cost), "user_id": user.id, "run_session_id": sub.id}
        for cost in ("0.50", "0.25")
    )

    assert [cost.cost for cost in costs] == [Decimal("0.50"), Decimal("0.25")]
    assert (await db.hub.runs.get(sub.id)).total_cost == Decimal("0.75")
    assert [limit.remaining for limit in await db.hub.limits.standing(user.id)] == [Decimal("4.25")]


async def test_a_reached_limit_suspends_with_its_reason(db: Database) -> None:
    user = await make_user(db)
    limit = await db.hub.limits.set(1, user_id=user.id)
    await charge(db, user.id, "1.25")

    changes = await db.hub.limits.evaluate()

    reason = "Spend limit of $1 reached (current: $1.25)"
    assert [(change.limit_id, change.is_suspended, change.reason) for change in changes] == [(limit.id, True, reason)]
    assert (await db.hub.limits.get(limit.id)).suspended_reason == reason
    assert await db.hub.limits.suspension(user.id) == reason
    await charge(db, user.id, "0.10")
    assert await db.hub.limits.evaluate() == []
    assert await db.hub.limits.suspension(user.id) == reason


async def test_a_limit_that_is_spent_exactly_suspends(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(Decimal("0.5"), user_id=user.id)
    await charge(db, user.id, "0.49")
    assert await db.hub.limits.evaluate() == []
    await charge(db, user.id, "0.01")

    assert [change.reason for change in await db.hub.limits.evaluate()] == [
        "Spend limit of $0.5 reached (current: $0.50)"
    ]


async def test_a_suspension_is_lifted_when_its_period_is_over(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(NOON) as hand:
        limit = await db.hub.limits.set(1, user_id=user.id, period="day")
        await charge(db, user.id, "1.25")
        await db.hub.limits.evaluate()
        hand.forward(timedelta(days=1))
        await charge(db, user.id, "0.25")

        changes = await db.hub.limits.evaluate()

        assert [(change.is_suspended, change.reason) for change in changes] == [
            (False, "Spend limit period reset (current: $0.25, limit: $1)")
        ]
        stored = await db.hub.limits.get(limit.id)
        assert (stored.suspended_reason, stored.spent) == (None, Decimal("0.25"))
        assert stored.window_started_at == datetime(2026, 3, 11, tzinfo=UTC)


async def test_a_limit_that_is_removed_suspends_nobody(db: Database) -> None:
    user = await make_user(db)
    limit = await db.hub.limits.set(1, user_id=user.id)
    await charge(db, user.id, "2")
    await db.hub.limits.evaluate()

    await db.hub.limits.remove(limit.id)

    assert await db.hub.limits.suspension(user.id) is None
    assert await db.hub.limits.standing(user.id) == []
    await db.hub.reservations.reserve(user_id=user.id, amount=1_000)


async def test_a_limit_that_is_raised_suspends_nobody(db: Database) -> None:
    user = await make_user(db)
    limit = await db.hub.limits.set(1, user_id=user.id)
    await charge(db, user.id, "2")
    await db.hub.limits.evaluate()

    raised = await db.hub.limits.set(3, user_id=user.id)

    assert raised.id == limit.id
    assert (raised.spent, raised.suspended_reason) == (Decimal(2), None)
    assert await db.hub.limits.evaluate() == []


async def test_a_limit_that_is_lowered_is_beyond_and_suspends(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(3, user_id=user.id)
    await charge(db, user.id, "2")

    await db.hub.limits.set(1, user_id=user.id)

    (standing,) = await db.hub.limits.standing(user.id)
    assert standing.is_beyond
    assert standing.remaining == 0
    assert [change.is_suspended for change in await db.hub.limits.evaluate()] == [True]


async def test_a_reset_begins_at_nothing_and_keeps_the_ledger(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(NOON) as hand:
        limit = await db.hub.limits.set(1, user_id=user.id, period="day")
        await charge(db, user.id, "2")
        await db.hub.limits.evaluate()
        hand.forward(timedelta(hours=1))

        await db.hub.limits.reset(limit.id)

        assert await db.hub.limits.suspension(user.id) is None
        await charge(db, user.id, "0.25")
        assert (await db.hub.limits.set(1, user_id=user.id, period="day")).spent == Decimal("0.25")
        assert (await db.hub.costs.total(user_id=user.id)).cost == Decimal("2.25")


async def test_a_limit_of_nothing_suspends_at_once(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(0, user_id=user.id)

    assert [change.reason for change in await db.hub.limits.evaluate()] == [
        "Spend limit of $0 reached (current: $0.00)"
    ]
    with pytest.raises(BudgetExceeded):
        await db.hub.reservations.reserve(user_id=user.id, amount=CENT)


async def test_the_installations_limit_binds_whom_nothing_exempts(db: Database) -> None:
    bound, exempt = await make_user(db), await make_user(db)
    await db.hub.limits.set(1)
    await db.hub.limits.set(5, user_id=exempt.id, exempts_from_installation=True)
    await charge(db, exempt.id, "1.50")

    changes = await db.hub.limits.evaluate()

    assert [change.reason for change in changes] == ["Global spend limit of $1 reached (total: $1.50)"]
    assert await db.hub.limits.suspension(exempt.id) is None
    assert await db.hub.limits.suspension(bound.id) == "Global spend limit of $1 reached (total: $1.50)"
    await db.hub.reservations.reserve(user_id=exempt.id, amount=1)
    with pytest.raises(BudgetExceeded):
        await db.hub.reservations.reserve(user_id=bound.id, amount=CENT)


async def test_what_nobody_spent_counts_in_the_installations_limit(db: Database) -> None:
    await db.hub.limits.set(1)

    await db.hub.costs.append(source="other", model="m", cost=Decimal("0.30"))

    assert (await db.hub.limits.of()).spent == Decimal("0.30")


async def test_a_leads_limit_counts_the_whole_tree(db: Database) -> None:
    lead = await make_user(db)
    middle = await make_user(db, lead_user_id=lead.id)
    leaf, stranger = await make_user(db, lead_user_id=middle.id), await make_user(db)
    await charge(db, leaf.id, "0.40")

    await db.hub.limits.set(1, user_id=lead.id, covers=LimitCovers.tree)
    await charge(db, leaf.id, "0.40")
    await charge(db, stranger.id, "9")

    assert (await db.hub.limits.of(lead.id, LimitCovers.tree)).spent == Decimal("0.80")
    with pytest.raises(BudgetExceeded, match="all led by them"):
        await db.hub.reservations.reserve(user_id=leaf.id, amount=Decimal("0.21"))
    await db.hub.reservations.reserve(user_id=middle.id, amount=Decimal("0.20"))
    with pytest.raises(BudgetExceeded):
        await db.hub.reservations.reserve(user_id=lead.id, amount=CENT)


async def test_leads_in_a_circle_are_counted_once(db: Database) -> None:
    one = await make_user(db)
    other = await make_user(db, lead_user_id=one.id)
    async with db.write() as unit:  # no repository would; a foreign writer may
        await unit.session.execute(update(User).where(User.id == one.id).values(lead_user_id=other.id))
    await db.hub.limits.set(1, user_id=one.id, covers="tree")

    await charge(db, other.id, "0.25")

    assert (await db.hub.limits.of(one.id, "tree")).spent == Decimal("0.25")
    assert (await db.hub.costs.total(led_by=one.id)).calls == 1


async def test_a_correction_moves_the_session_and_the_limit(db: Database) -> None:
    session = await make_run_session(db)
    await db.hub.limits.set(1, user_id=session.user_id)
    cost = await db.hub.costs.append(
        source="console",
        model="m",
        cost=Decimal("0.80"),
        user_id=session.user_id,
        run_session_id=session.id,
        input_tokens=100,
    )

    correction = await db.hub.costs.correct(cost.id, cost=Decimal("0.30"), input_tokens=40)

    assert (correction.cost, correction.input_tokens, correction.corrects_id) == (Decimal("-0.50"), -60, cost.id)
    assert (await db.hub.runs.get(session.id)).total_cost == Decimal("0.30")
    assert (await db.hub.limits.of(session.user_id)).spent == Decimal("0.30")
    assert (await db.hub.costs.total(user_id=session.user_id)).input_tokens == 40


async def test_a_limit_tells_what_is_wrong_with_it(db: Database) -> None:
    user = await make_user(db)

    with pytest.raises(BadInput, match="from \\$0"):
        await db.hub.limits.set(-1, user_id=user.id)
    with pytest.raises(BadInput, match="one of hour, day, week, month, none"):
        await db.hub.limits.set(1, user_id=user.id, period="year")
    with pytest.raises(BadInput, match="time zone 'Mars/Olympus'"):
        await db.hub.limits.set(1, user_id=user.id, period="day", timezone="Mars/Olympus")
    with pytest.raises(BadInput, match="1 to 10000"):
        await db.hub.limits.set(1, user_id=user.id, period="hour", every=0)
    with pytest.raises(BadInput, match="self or tree"):
        await db.hub.limits.set(1, user_id=user.id, covers="all")
    with pytest.raises(BadInput, match="there is no other"):
        await db.hub.limits.set(1, covers="tree")
    with pytest.raises(MissingReference):
        await db.hub.limits.set(1, user_id=987_654)
    with pytest.raises(NotFound):
        await db.hub.limits.of(user.id)
    with pytest.raises(NotFound):
        await db.hub.limits.reset(987_654)


async def test_a_limit_set_while_costs_are_written_misses_none(db: Database) -> None:
    user = await make_user(db)

    await asyncio.gather(
        *(charge(db, user.id, "0.01") for _ in range(40)),
        db.hub.limits.set(5, user_id=user.id),
        *(charge(db, user.id, "0.01") for _ in range(40)),
        db.hub.limits.set(7, user_id=user.id),
    )

    assert (await db.hub.limits.of(user.id)).spent == Decimal("0.80")
