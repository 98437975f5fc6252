"""Folding: old entries become sums of their day, and nobody who adds up can tell."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, NotFound
from agentdb.hub.ledger.sums import BYS
from agentdb.hub.ledger.windows import window
from agentdb.models import CostDay, LimitPeriod
from agentdb.testing.factories import make_user

START = datetime(2025, 1, 1, tzinfo=UTC)
CENT = Decimal("0.01")
DAY = timedelta(days=1)
_WAITING = text("count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def _sums(db: Database, users: list[int | None], agents: list[int]) -> dict[str, Any]:
    """Return every sum there is over spending."""
    costs, found = db.hub.costs, dict[str, Any]()
    scopes: list[dict[str, Any]] = [
        {},
        {"led_by": users[0]},
        {"model": "a"},
        {"source": "chat"},
        {"agent_id": agents[0]},
    ]
    scopes += [{"user_id": user} for user in users if user is not None]
    for scope in scopes:
        found[f"total {scope}"] = await costs.total(**scope)
        found[f"window {scope}"] = await costs.total(**scope, since=START + 3 * DAY, until=START + 17 * DAY)
    for by in BYS:
        found[f"by {by}"] = await costs.sums(by)
        found[f"of a user by {by}"] = await costs.sums(by, user_id=users[0])
    for every in (1, 3):
        found[f"histogram {every}"] = await costs.histogram(
            since=START, until=START + 30 * DAY, every=timedelta(days=every)
        )
    found["reports"] = [
        await db.reports.spending.by_user(),
        await db.reports.spending.by_model(),
        await db.reports.spending.by_day(),
    ]
    found["limits"] = sorted([(limit.id, limit.spent) async for limit in db.hub.limits.stream()])
    return found


async def _fold_all(db: Database, before: datetime, limit: int) -> int:
    folded = 0
    while batch := await db.hub.costs.fold(before=before, limit=limit):
        folded += batch
    return folded


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
async def test_no_sum_changes_whatever_is_folded_and_when(db: Database, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (guards nothing)
    lead, led = await make_user(db), await make_user(db)
    await db.supervisor.leads.set_lead(led.id, lead.id)
    users = [lead.id, led.id, None]
    agents = [(await db.catalog.agents.add(name=name)).id for name in "xy"]
    with clock.hold(START) as hand:
        await db.hub.limits.set(50, user_id=users[0], covers="tree")
        await db.hub.limits.set(50, period="month")
        folded = 0
        for _ in range(6):
            for _ in range(chance.randrange(1, 5)):
                hand.forward(timedelta(seconds=chance.randrange(1, 86_400)))
                entries = [
                    {
                        "source": chance.choice(["chat", "console"]),
                        "model": chance.choice("ab"),
                        "cost": Decimal(chance.randrange(10**9)) / 10**9,
                        "user_id": chance.choice(users),
                        "agent_id": chance.choice([None, *agents]),
                        "input_tokens": chance.randrange(1000),
                        "output_tokens": chance.randrange(1000),
                    }
                    for _ in range(chance.randrange(1, 12))
                ]
                made = await db.hub.costs.append_many(entries)
                if chance.random() < 0.5:
                    await db.hub.costs.correct(made[0].id, cost=Decimal(chance.randrange(5)), input_tokens=1001)
            before = clock.now() - timedelta(hours=chance.randrange(72))
            sums, foldable = await _sums(db, users, agents), await db.hub.costs.foldable(before=before)
            now_folded = await _fold_all(db, before, chance.randrange(1, 20))

            assert await _sums(db, users, agents) == sums
            assert now_folded == foldable
            folded += now_folded

    assert folded > 20
    assert await db.hub.costs.count(created_at__lt=before - 10 * DAY) == 0


async def _rows_of_days(db: Database) -> list[CostDay]:
    async with db.read() as unit:
        return list(await unit.session.scalars(select(CostDay)))


async def test_entries_of_one_day_are_one_row_of_nobody_too_however_many_batches(db: Database) -> None:
    user, agent = await make_user(db), await db.catalog.agents.add(name="x")
    with clock.hold(START):
        for whose in ({}, {"user_id": user.id}, {"user_id": user.id, "agent_id": agent.id}):
            await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": CENT, **whose}] * 5)

    folded = await _fold_all(db, START + DAY, limit=2)

    days = await _rows_of_days(db)
    assert folded == 15
    assert await db.hub.costs.count() == 0
    assert sorted((day.user_id or 0, day.agent_id or 0, day.day, day.calls, day.cost) for day in days) == [
        (0, 0, START, 5, 5 * CENT),
        (user.id, 0, START, 5, 5 * CENT),
        (user.id, agent.id, START, 5, 5 * CENT),
    ]


async def test_those_who_fold_at_once_fold_each_entry_once(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(START):
        await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": CENT, "user_id": user.id}] * 60)

    folded = await asyncio.gather(*(_fold_all(db, START + DAY, limit=7) for _ in range(6)))

    total = await db.hub.costs.total(user_id=user.id)
    assert sum(folded) == 60
    assert (total.calls, total.cost) == (60, 60 * CENT)
    assert len(await _rows_of_days(db)) == 1


async def test_an_entry_stays_as_long_as_its_correction(db: Database) -> None:
    with clock.hold(START) as hand:
        cost = await db.hub.costs.append(source="chat", model="m", cost=1)
        hand.forward(5 * DAY)
        correction = await db.hub.costs.correct(cost.id, cost=Decimal(2))

        assert await _fold_all(db, START + DAY, limit=10) == 0
        assert (await db.hub.costs.get(cost.id)).cost == 1
        assert await _fold_all(db, START + 6 * DAY, limit=10) == 2
        with pytest.raises(NotFound, match=f"costs has no row {correction.id}"):
            await db.hub.costs.get(correction.id)
        with pytest.raises(NotFound, match="or retention has folded it"):
            await db.hub.costs.correct(cost.id, cost=Decimal(3))
    assert (await db.hub.costs.total()).cost == 2


async def test_whoever_corrects_an_entry_that_is_being_folded_is_told_or_keeps_it(db: Database) -> None:
    with clock.hold(START):
        costs = await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": CENT}] * 40)

    told = await asyncio.gather(
        *(db.hub.costs.correct(cost.id, cost=2 * CENT) for cost in costs),
        *(_fold_all(db, START + DAY, limit=3) for _ in range(3)),
        return_exceptions=True,
    )

    corrected = [answer for answer in told[:40] if not isinstance(answer, BaseException)]
    assert all(isinstance(answer, NotFound) for answer in told[:40] if isinstance(answer, BaseException))
    assert not [answer for answer in told[40:] if isinstance(answer, BaseException)]
    assert (await db.hub.costs.total()).cost == (40 + len(corrected)) * CENT


async def test_entries_fold_while_their_users_are_deleted(db: Database) -> None:
    users = [await make_user(db) for _ in range(12)]
    with clock.hold(START):
        entries = [{"source": "chat", "model": "m", "cost": CENT, "user_id": user.id} for user in users]
        await db.hub.costs.append_many(entries * 5)

    await asyncio.gather(
        _fold_all(db, START + DAY, limit=9), *(db.supervisor.users.remove(user.id) for user in users[::2])
    )

    total, left = await db.hub.costs.total(), await db.hub.costs.sums("user_id")
    assert (total.calls, total.cost) == (60, 60 * CENT)
    expected: dict[Any, int] = {user.id: 5 for user in users[1::2]}
    assert {row.value: row.calls for row in left} == {None: 30, **expected}


async def test_a_limit_set_anew_after_folding_counts_what_it_counted(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(START + timedelta(hours=9)) as hand:
        limit = await db.hub.limits.set(10, user_id=user.id)
        await db.hub.costs.append(source="chat", model="m", cost=1, user_id=user.id)
        hand.forward(timedelta(hours=1))
        await db.hub.limits.reset(limit.id)
        await db.hub.costs.append(source="chat", model="m", cost=2, user_id=user.id)
        hand.forward(DAY)
        await db.hub.costs.append(source="chat", model="m", cost=4, user_id=user.id)
        hand.forward(DAY)
        folded = await _fold_all(db, clock.now(), limit=10)
        again = await db.hub.limits.set(20, user_id=user.id)

    assert folded == 1  # of the day of the reset some count and some do not
    assert again.spent == 6


async def test_the_day_that_is_not_over_stays(db: Database) -> None:
    with clock.hold(START + timedelta(hours=23)):
        await db.hub.costs.append(source="chat", model="m", cost=1)

        assert await db.hub.costs.fold(before=START + timedelta(hours=23, minutes=59)) == 0
        assert await db.hub.costs.fold(before=START + DAY) == 1
    with pytest.raises(BadInput, match=r"^before: a moment needs a date, a time and a time zone"):
        await db.hub.costs.fold(before=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(BadInput, match=r"^before: a moment needs .*not 'yesterday'"):
        await db.hub.costs.foldable(before="yesterday")  # type: ignore[arg-type]


async def test_an_entry_that_could_not_go_is_not_counted_twice(db: Database) -> None:
    with clock.hold(START):
        await db.hub.costs.append(source="chat", model="m", cost=1)

    async def fail() -> None:
        async with db.write() as unit:
            await unit.hub.costs.fold(before=START + DAY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert (await db.hub.costs.total()).calls == 1
    assert await _rows_of_days(db) == []


async def _somebody_waits(db: Database) -> None:
    """Return when a statement waits for a lock."""
    for _ in range(2_000):
        async with db.read() as unit:  # a new one each time: a transaction sees others as at its first look
            if await unit.session.scalar(select(_WAITING)):
                return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_an_entry_that_is_corrected_at_this_moment_stays_and_others_go(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    with clock.hold(START):
        costs = await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": 1}] * 3)
    waits = asyncio.create_task(_somebody_waits(db))
    async with db.write() as unit:
        await unit.hub.costs.correct(costs[0].id, cost=Decimal(5))
        folding = asyncio.create_task(db.hub.costs.fold(before=START + DAY))
        await waits

    assert await folding == 2
    assert (await db.hub.costs.get(costs[0].id)).cost == 1
    assert (await db.hub.costs.total()).cost == 7


async def test_a_day_that_a_limit_begins_to_count_from_at_this_moment_stays(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    user = await make_user(db)
    quarter: dict[str, Any] = {"period": "day", "every": 90, "timezone": "Asia/Tokyo"}
    begins, _ = window(LimitPeriod.day, 90, "Asia/Tokyo", START + 80 * DAY)
    for hours, cost in ((-1, 1), (1, 2)):
        with clock.hold(begins + timedelta(hours=hours)):
            await db.hub.costs.append(source="chat", model="m", cost=cost, user_id=user.id)
    with clock.hold(begins + 70 * DAY):
        waits = asyncio.create_task(_somebody_waits(db))
        async with db.write() as unit:
            await unit.session.execute(text("SELECT 1 FROM users WHERE id = :id FOR UPDATE"), {"id": user.id})
            folding = asyncio.create_task(db.hub.costs.fold(before=begins + 60 * DAY))
            await waits
            limit = await asyncio.create_task(db.hub.limits.set(10, **quarter))  # of another transaction

        assert limit.spent == 2
        assert await folding == 0
        assert (await db.hub.limits.set(10, **quarter)).spent == 2
