"""Spending: who, on which model, and when."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from agentdb import clock
from agentdb.database import Database
from agentdb.hub.models.spending import CostDay
from agentdb.reports.records import DailySpending, ModelSpending, UserSpending
from agentdb.supervisor.models import User

LATE = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)
MIDNIGHT = LATE + timedelta(microseconds=1)


async def spend(db: Database, user: User | None, model: str, cost: str, tokens: int = 10) -> None:
    await db.hub.costs.append(
        source="chat",
        model=model,
        cost=Decimal(cost),
        user_id=None if user is None else user.id,
        input_tokens=tokens,
        output_tokens=1,
    )


async def fold(db: Database, day: datetime, **values: Any) -> None:
    async with db.write() as unit:
        unit.session.add(CostDay(day=day, source="chat", **values))


async def test_nothing_was_spent_at_first(db: Database) -> None:
    assert await db.reports.spending.by_user() == []
    assert await db.reports.spending.by_model() == []
    assert await db.reports.spending.by_day() == []


async def test_spending_is_summed_by_user_model_and_day(db: Database) -> None:
    ada, grace = [await db.supervisor.users.create(name) for name in ("ada", "grace")]
    with clock.hold(LATE) as hand:
        await spend(db, ada, "large", "0.000000001")
        await spend(db, grace, "small", "1.5")
        hand.forward(timedelta(microseconds=1))
        await spend(db, ada, "small", "0.2")
        await spend(db, None, "large", "0.1")

    by_user = await db.reports.spending.by_user()
    by_model = await db.reports.spending.by_model()
    by_day = await db.reports.spending.by_day()

    assert by_user == [
        UserSpending("grace", 1, 10, 1, Decimal("1.5")),
        UserSpending("ada", 2, 20, 2, Decimal("0.200000001")),
        UserSpending(None, 1, 10, 1, Decimal("0.1")),
    ]
    assert by_model == [
        ModelSpending("small", 2, 20, 2, Decimal("1.7")),
        ModelSpending("large", 2, 20, 2, Decimal("0.100000001")),
    ]
    assert by_day == [
        DailySpending(date(2026, 11, 21), 2, 20, 2, Decimal("0.3")),
        DailySpending(date(2026, 11, 20), 2, 20, 2, Decimal("1.500000001")),
    ]
    assert {type(row.calls) for row in by_user} == {int}
    assert by_user[0].cost.as_tuple().exponent == -9


async def test_a_window_leaves_out_its_end(db: Database) -> None:
    with clock.hold(LATE) as hand:
        await spend(db, None, "m", "1")
        hand.forward(timedelta(microseconds=1))
        await spend(db, None, "m", "2")

    before = await db.reports.spending.by_model(until=MIDNIGHT)
    after = await db.reports.spending.by_model(since=MIDNIGHT)

    assert [row.cost for row in before] == [Decimal(1)]
    assert [row.cost for row in after] == [Decimal(2)]


async def test_what_retention_folded_counts(db: Database) -> None:
    ada = await db.supervisor.users.create("ada")
    with clock.hold(LATE):
        await spend(db, ada, "m", "0.5")
    folded = {"calls": 3, "input_tokens": 30, "output_tokens": 3, "cost": Decimal("1.5")}
    await fold(db, datetime(2026, 11, 20, tzinfo=UTC), user_id=ada.id, model="m", **folded)
    await fold(db, datetime(2025, 1, 1, tzinfo=UTC), user_id=None, model="old", **folded)

    assert await db.reports.spending.by_user() == [
        UserSpending("ada", 4, 40, 4, Decimal(2)),
        UserSpending(None, 3, 30, 3, Decimal("1.5")),
    ]
    assert [row.model for row in await db.reports.spending.by_model()] == ["m", "old"]
    assert [(row.day, row.calls) for row in await db.reports.spending.by_day()] == [
        (date(2026, 11, 20), 4),
        (date(2025, 1, 1), 3),
    ]


async def test_who_spent_alike_is_listed_by_name(db: Database) -> None:
    for name in ("b", "a", "C"):
        await spend(db, await db.supervisor.users.create(name), name, "1")

    assert [row.username for row in await db.reports.spending.by_user()] == ["C", "a", "b"]
    assert [row.model for row in await db.reports.spending.by_model(limit=2)] == ["C", "a"]
