"""Sums and histograms over the ledger, and over what retention has folded out of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.hub.models.spending import CostDay
from agentdb.testing.factories import make_user

MONDAY = datetime(2026, 3, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def charge(db: Database, at: datetime, cost: str, **details: Any) -> None:
    with clock.hold(at):
        await db.hub.costs.append(**{"source": "chat", "model": "m", "cost": Decimal(cost), **details})


async def fold(db: Database, day: datetime, **row: Any) -> None:
    async with db.write() as unit:
        unit.session.add(CostDay(day=day, **{"model": "m", "source": "chat", "calls": 1, **row}))


async def test_the_costliest_comes_first_with_what_was_folded(db: Database) -> None:
    await charge(db, MONDAY, "1.00", model="small", input_tokens=5)
    await charge(db, MONDAY + HOUR, "0.50", model="small")
    await charge(db, MONDAY, "2.00", model="large")
    await fold(db, MONDAY - timedelta(days=9), model="large", calls=40, input_tokens=7, cost=Decimal("3.00"))

    sums = await db.hub.costs.sums("model")
    assert [(of.value, of.calls, of.input_tokens, of.cost) for of in sums] == [
        ("large", 41, 7, Decimal(5)),
        ("small", 2, 5, Decimal("1.5")),
    ]
    assert [of.value for of in await db.hub.costs.sums("model", limit=1)] == ["large"]
    assert [of.cost for of in await db.hub.costs.sums("model", since=MONDAY, until=MONDAY + HOUR)] == [2, 1]


async def test_sums_by_user_source_and_day(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    await charge(db, MONDAY, "1", user_id=user.id, source="console")
    await charge(db, MONDAY + timedelta(days=1), "4", user_id=user.id)
    await charge(db, MONDAY + timedelta(days=1), "2", user_id=other.id)
    await charge(db, MONDAY + timedelta(days=1), "9")

    by_user = await db.hub.costs.sums("user_id")
    assert [(of.value, of.cost) for of in by_user] == [
        (None, Decimal(9)),
        (user.id, Decimal(5)),
        (other.id, Decimal(2)),
    ]
    of_user = await db.hub.costs.sums("source", user_id=user.id)
    assert [(of.value, of.cost) for of in of_user] == [("chat", Decimal(4)), ("console", Decimal(1))]
    days = await db.hub.costs.sums("day")
    assert [(of.value, of.cost) for of in days] == [
        (date(2026, 3, 9), Decimal(1)),
        (date(2026, 3, 10), Decimal(15)),
    ]
    with pytest.raises(BadInput, match="summed by one of"):
        await db.hub.costs.sums("password_hash")  # type: ignore[arg-type]


async def test_a_leads_spending_is_that_of_all_descendants(db: Database) -> None:
    lead = await make_user(db)
    middle = await make_user(db, lead_user_id=lead.id)
    leaf, stranger = await make_user(db, lead_user_id=middle.id), await make_user(db)
    for payer, cost in ((lead, "1"), (middle, "2"), (leaf, "4"), (stranger, "8")):
        await charge(db, MONDAY, cost, user_id=payer.id)
    await fold(db, MONDAY - timedelta(days=9), user_id=leaf.id, cost=Decimal(16))

    assert (await db.hub.costs.total(led_by=lead.id)).cost == 23
    assert (await db.hub.costs.total(led_by=leaf.id)).cost == 20
    assert {of.value for of in await db.hub.costs.sums("user_id", led_by=middle.id)} == {middle.id, leaf.id}
    assert (await db.hub.costs.total(led_by=987_654)).cost == 0


async def test_each_row_is_in_exactly_one_bucket(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    moments = [MONDAY, MONDAY + 6 * HOUR, MONDAY + 6 * HOUR - timedelta(microseconds=1), MONDAY + 24 * HOUR]
    for moment in moments:
        await charge(db, moment, "1", user_id=user.id)
    await charge(db, MONDAY + 7 * HOUR, "0.5", user_id=other.id)
    await charge(db, MONDAY + 8 * HOUR, "0.25")
    await charge(db, MONDAY - timedelta(microseconds=1), "64")
    await charge(db, MONDAY + 24 * HOUR + timedelta(microseconds=1), "64")

    buckets = await db.hub.costs.histogram(since=MONDAY, until=MONDAY + 24 * HOUR, every=6 * HOUR)

    assert [bucket.begins_at for bucket in buckets] == [MONDAY + step * 6 * HOUR for step in range(4)]
    assert [bucket.ends_at for bucket in buckets] == [MONDAY + step * 6 * HOUR for step in range(1, 5)]
    assert [bucket.cost for bucket in buckets] == [2, Decimal("1.75"), 0, 1]
    assert buckets[1].by_user == {user.id: 1, other.id: Decimal("0.5"), None: Decimal("0.25")}
    assert sum(bucket.calls for bucket in buckets) == 6
    mine = await db.hub.costs.histogram(since=MONDAY, until=MONDAY + 24 * HOUR, every=6 * HOUR, user_id=user.id)
    assert [bucket.cost for bucket in mine] == [2, 1, 0, 1]


async def test_the_last_bucket_may_be_shorter_and_a_day_is_a_local_one(db: Database) -> None:
    await charge(db, datetime(2026, 3, 29, 22, 30, tzinfo=UTC), "1")  # on the 30th in Berlin, whose 29th has 23 hours
    await fold(db, datetime(2026, 3, 29, tzinfo=UTC), calls=3, cost=Decimal(5))

    buckets = await db.hub.costs.histogram(
        since=datetime(2026, 3, 27, 23, tzinfo=UTC),
        until=datetime(2026, 3, 30, 12, tzinfo=UTC),
        timezone="Europe/Berlin",
    )

    assert [bucket.begins_at.isoformat() for bucket in buckets] == [
        "2026-03-27T23:00:00+00:00",
        "2026-03-28T23:00:00+00:00",
        "2026-03-29T22:00:00+00:00",
    ]
    assert [(bucket.calls, bucket.cost) for bucket in buckets] == [(0, Decimal(0)), (3, Decimal(5)), (1, Decimal(1))]
    assert buckets[-1].ends_at == datetime(2026, 3, 30, 12, tzinfo=UTC)


async def test_a_histogram_tells_what_is_wrong_with_it(db: Database) -> None:
    for since, until, every in (
        (MONDAY, MONDAY, HOUR),
        (MONDAY, MONDAY + HOUR, timedelta(0)),
        (MONDAY, MONDAY + 10 * HOUR, timedelta(seconds=1)),
        (MONDAY.replace(tzinfo=None), MONDAY, HOUR),
        ("monday", MONDAY, HOUR),
        (MONDAY, None, HOUR),
        (MONDAY, MONDAY + HOUR, 3600),
        (datetime.max.replace(tzinfo=UTC) - timedelta(hours=36), datetime.max.replace(tzinfo=UTC), 7 * HOUR),
        (datetime.min.replace(tzinfo=timezone(5 * HOUR)), MONDAY, HOUR),
    ):
        with pytest.raises(BadInput):
            await db.hub.costs.histogram(since=since, until=until, every=every)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="time zone"):
        await db.hub.costs.histogram(since=MONDAY, until=MONDAY + HOUR, timezone="Moon")


async def test_corrections_take_those_before_into_account(db: Database) -> None:
    cost = await db.hub.costs.append(source="chat", model="m", cost=1, input_tokens=10)

    await db.hub.costs.correct(cost.id, cost=Decimal("0.5"))
    again = await db.hub.costs.correct(cost.id, cost=Decimal("0.8"), request_id="fix")
    told_twice = await db.hub.costs.correct(cost.id, cost=Decimal("0.8"), request_id="fix")

    assert (again.cost, again.id) == (Decimal("0.3"), told_twice.id)
    assert (await db.hub.costs.total()).cost == Decimal("0.8")
    with pytest.raises(BadInput, match="nothing to correct"):
        await db.hub.costs.correct(cost.id, cost=Decimal("0.8"))
    with pytest.raises(BadInput, match="correct that one"):
        await db.hub.costs.correct(again.id, cost=0)
    with pytest.raises(BadInput, match="not model"):
        await db.hub.costs.correct(cost.id, model="other")
