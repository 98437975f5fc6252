"""Scenarios of hubs that went wrong elsewhere, and that no other test tells of: restarts, caps, reasons told again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.testing.factories import make_run_session, make_user
from agentdb.testing.plugin import SEALED


async def _charge(db: Database, user_id: int, cost: str) -> None:
    await db.hub.costs.append(source="chat", model="m", cost=Decimal(cost), user_id=user_id)


async def test_scenario_5_whoever_spends_on_while_suspended_is_told_the_same_reason(db: Database) -> None:
    user = await make_user(db)
    await db.hub.limits.set(1, user_id=user.id)
    await _charge(db, user.id, "1.25")
    await db.hub.limits.evaluate()

    await _charge(db, user.id, "0.50")

    assert await db.hub.limits.evaluate() == []
    assert await db.hub.limits.suspension(user.id) == "Spend limit of $1 reached (current: $1.25)"


async def test_scenario_11_a_suspension_of_before_a_restart_is_lifted_when_its_period_is_over(
    migrated_url: str,
) -> None:
    async with agentdb.connect(migrated_url, **SEALED) as db:
        user = await make_user(db)
        await db.hub.limits.set(1, user_id=user.id, period="day")
        await _charge(db, user.id, "1.25")
        assert [change.is_suspended for change in await db.hub.limits.evaluate()] == [True]
        tomorrow = db.now() + timedelta(days=1, minutes=1)

    with clock.hold(tomorrow):
        async with agentdb.connect(migrated_url, **SEALED) as db:
            assert await db.hub.limits.suspension(user.id) is None  # the window is over, whoever noticed
            assert [change.is_suspended for change in await db.hub.limits.evaluate()] == [False]
            assert (await db.hub.limits.of(user.id)).suspended_reason is None


async def test_scenario_21_no_list_is_longer_than_the_cap(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, page_limit=2, **SEALED) as db:
        session, other = await make_run_session(db), await make_user(db)
        for _ in range(3):
            await db.hub.logs.append(session, [{"role": "llm", "message": "a"}])
            await db.hub.mail.send(other.id, to=[session.user_id], body="b", kind="chat")
            await db.hub.runs.next_session(run_id=session.run_id, model_name="m")

        read = session.user_id
        for listed in (
            await db.hub.logs.latest(session, limit=5_000),
            await db.hub.logs.after(session, 0, limit=5_000),
            (await db.hub.runs.list(limit=5_000)).items,
            (await db.hub.mail.received(read, limit=5_000)).items,
            (await db.hub.mail.search(read, "b", limit=5_000)).items,
            await db.hub.mail.unread(read, limit=5_000),
            await db.hub.mail.messages(read, with_users=[other.id], limit=5_000),
        ):
            assert len(listed) == 2
