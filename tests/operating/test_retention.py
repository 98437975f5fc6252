"""Retention: what is old goes, what is young or in use stays, and it is on record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from agentdb import clock
from agentdb.clock import Hand
from agentdb.database import Database
from agentdb.errors import Unavailable
from agentdb.models import AuditLog, ConfigRevision, CostReservation, IntegrationEvent, RegistrationToken
from agentdb.operating.retaining.policies import DEFAULTS, Keep
from agentdb.operating.retaining.removing import Purged
from agentdb.operating.retaining.rules import RULES
from agentdb.operating.retention import RetentionReport, apply
from agentdb.testing.factories import make_conversation, make_run_session, make_user
from tests.execution.queues import claim_one, enqueue, make_workflow

START = datetime(2025, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TTL = timedelta(minutes=1)
WEEK = Keep(age=7 * DAY)
OFF: dict[str, Keep | None] = dict.fromkeys(DEFAULTS)


@pytest.fixture
def hand() -> Iterator[Hand]:
    """Yield the hand of a held clock."""
    with clock.hold(START) as hand:
        yield hand


def _removed(report: RetentionReport) -> dict[str, int]:
    assert [table.problem for table in report.tables if table.problem] == []
    return {table.table: table.rows for table in report.tables}


async def _agent(db: Database) -> int:
    return (await db.catalog.agents.create("helper")).id


async def _entries(db: Database, run: str) -> list[AuditLog]:
    async with db.read() as unit:
        rows = await unit.session.scalars(select(AuditLog).where(AuditLog.correlation_id == run).order_by(AuditLog.id))
        return list(rows)


async def test_by_default_only_what_is_over_by_itself_goes(db: Database, hand: Hand) -> None:
    user, agent = await make_user(db), await _agent(db)
    session = await make_run_session(db, user_id=user.id)
    for ttl in (3600, 360 * 86_400):
        await db.supervisor.logins.start(user.id, ttl_seconds=ttl)
    await db.knowledge.memories.remember(agent, "soon over", ttl=DAY)
    await db.knowledge.memories.remember(agent, "kept")
    await db.hub.logs.append(session, [{"role": "llm", "message": "x"}])
    await db.hub.costs.append(source="chat", model="m", cost=1, user_id=user.id)
    await db.hub.attachments.store(b"x", filename="x", purpose="mail", uploaded_by=user.id)
    hand.forward(300 * DAY)

    report = await apply(db)

    assert _removed(report) == {"sessions": 1, "memories": 1, "attachments": 1}
    assert report.finished
    assert await db.supervisor.logins.count() == 1
    assert await db.knowledge.memories.count() == 1
    assert await db.hub.costs.count() == await db.hub.logs.count() == 1


async def test_costs_are_folded_and_what_they_add_up_to_stays(db: Database, hand: Hand) -> None:
    user = await make_user(db)
    await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": Decimal("0.1"), "user_id": user.id}] * 25)
    hand.forward(400 * DAY)
    await db.hub.costs.append(source="chat", model="m", cost=1, user_id=user.id)
    total = await db.hub.costs.total()

    report = await apply(db, {**OFF, "costs": Keep(age=400 * DAY - timedelta(hours=13))}, batch=10)

    assert _removed(report) == {"costs": 25}
    assert await db.hub.costs.count() == 1
    assert await db.hub.costs.total() == total


async def test_logs_go_by_age_and_their_session_once_its_log_has(db: Database, hand: Hand) -> None:
    user = await make_user(db)
    old, live = [await make_run_session(db, user_id=user.id) for _ in range(2)]
    for session in (old, live):
        await db.hub.logs.append(session, [{"role": "llm", "message": "x"}] * 30)
    hand.forward(10 * DAY)
    await db.hub.logs.append(live, [{"role": "llm", "message": "new"}])

    first = await apply(db, {**OFF, "run_session": WEEK})
    second = await apply(db, {**OFF, "run_session": WEEK, "context_log": WEEK}, batch=7)

    assert _removed(first) == {"run_session": 0}
    assert _removed(second) == {"context_log": 60, "run_session": 1}
    assert [row.message for row in (await db.hub.logs.page(limit=10)).items] == ["new"]
    assert [session.id for session in (await db.hub.runs.page(limit=10)).items] == [live.id]


async def test_the_newest_so_many_stay(db: Database) -> None:
    session = await make_run_session(db)
    await db.hub.logs.append(session, [{"role": "llm", "message": f"{number}"} for number in range(50)])

    report = await apply(db, {**OFF, "context_log": Keep(newest=8)}, batch=5)
    again = await apply(db, {**OFF, "context_log": Keep(newest=8)})

    assert (_removed(report), _removed(again)) == ({"context_log": 42}, {"context_log": 0})
    assert [row.message for row in (await db.hub.logs.page(limit=10)).items] == [
        f"{number}" for number in range(42, 50)
    ]


async def test_mail_goes_once_nobody_has_it_unread(db: Database, hand: Hand) -> None:
    ada, bob = [await make_user(db) for _ in range(2)]
    read, unread = [await db.hub.mail.send(ada.id, to=[bob.id], body="x") for _ in range(2)]
    await db.hub.mail.mark_read(bob.id, [read.id])
    hand.forward(10 * DAY)
    young = await db.hub.mail.send(ada.id, to=[bob.id], body="x")
    await db.hub.mail.mark_read(bob.id, [young.id])

    report = await apply(db, {**OFF, "mail_messages": WEEK})

    assert _removed(report) == {"mail_messages": 1}
    assert {message.id for message in (await db.hub.mail.page(limit=10)).items} == {unread.id, young.id}


async def test_agents_sessions_go_once_they_have_ended(db: Database, hand: Hand) -> None:
    user, agent = await make_user(db), await _agent(db)
    sessions = db.execution.agent_sessions
    ended, live = [await sessions.start(user_id=user.id, agent_id=agent) for _ in range(2)]
    await sessions.complete(ended.id)
    hand.forward(10 * DAY)

    report = await apply(db, {**OFF, "agent_sessions": WEEK})

    assert _removed(report) == {"agent_sessions": 1}
    assert [session.id for session in (await sessions.page(limit=10)).items] == [live.id]


async def test_whatever_may_go_by_age_goes_and_nothing_younger(db: Database, hand: Hand) -> None:
    user = await make_user(db)
    workflow = await make_workflow(db, user.id)

    async def fill() -> None:
        conversation = await make_conversation(db, user_id=user.id, messages=2)
        await db.conversation.conversations.delete(conversation.id)
        await db.supervisor.registrations.issue((await make_user(db)).id, ttl_seconds=60)
        await db.supervisor.api_keys.issue(user.id, f"{clock.now()}", expires_at=clock.now() + TTL, by=None)
        await enqueue(db, workflow=workflow)
        await db.execution.executions.complete(await claim_one(db.execution.executions))
        reservation = await db.hub.reservations.reserve(user_id=user.id, amount=1)
        await db.hub.reservations.release(reservation.id)
        await db.hub.configs.update(user.id, {"at": str(clock.now())})

    await fill()
    hand.forward(10 * DAY)
    await fill()
    hand.forward(timedelta(hours=1))
    names = ["conversations", "registration_tokens", "api_keys", "executions", "cost_reservations", "config_revisions"]
    policies = {**OFF, **dict.fromkeys(names, WEEK)}

    planned, done, again = [await apply(db, policies, dry_run=dry) for dry in (True, False, False)]

    assert _removed(planned) == _removed(done) == dict.fromkeys(_removed(done), 1)
    assert set(_removed(done)) == set(names)
    assert set(_removed(again).values()) == {0}
    assert await db.execution.executions.count() == 1
    async with db.read() as unit:
        for model in (ConfigRevision, CostReservation, RegistrationToken):
            assert len(list(await unit.session.scalars(select(model)))) == 1


async def test_events_of_a_connection_go_by_age_(db: Database, hand: Hand) -> None:
    user = await make_user(db)
    connection = await db.integration.connections.begin(user.id, "mail")
    for _ in range(2):
        async with db.write() as unit:
            unit.session.add(
                IntegrationEvent(
                    user_id=user.id, integration_id=connection.id, event_type="tool_used", occurred_at=clock.now()
                )
            )
        hand.forward(10 * DAY)

    report = await apply(db, {**OFF, "integration_events": Keep(age=15 * DAY)})

    assert _removed(report) == {"integration_events": 1}
    assert await db.integration.events.count() == 1


async def test_a_dry_run_counts_what_would_go_and_leaves_no_trace(db: Database, hand: Hand) -> None:
    user, agent = await make_user(db), await _agent(db)
    session = await make_run_session(db, user_id=user.id)
    await db.supervisor.logins.start(user.id, ttl_seconds=3600)
    await db.knowledge.memories.remember(agent, "soon over", ttl=DAY)
    await db.hub.attachments.store(b"x", filename="x", purpose="mail", uploaded_by=user.id)
    await db.hub.logs.append(session, [{"role": "llm", "message": "x"}] * 12)
    await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": 1}] * 12)
    hand.forward(100 * DAY)
    policies: dict[str, Keep | None] = {"context_log": WEEK, "costs": Keep(age=40 * DAY)}
    entries = await db.supervisor.audit.count()

    planned = await apply(db, policies, dry_run=True, batch=5)
    left = await db.supervisor.audit.count()
    done = await apply(db, policies, batch=5)

    assert _removed(planned) == {"sessions": 1, "memories": 1, "costs": 12, "context_log": 12, "attachments": 1}
    assert _removed(planned) == _removed(done)
    assert left == entries


async def test_a_run_is_on_record_when_it_begins_and_when_it_ends(db: Database, hand: Hand) -> None:
    user = await make_user(db)
    await db.supervisor.logins.start(user.id, ttl_seconds=60)
    hand.forward(DAY)

    report = await apply(db, {"costs": Keep(age=400 * DAY)}, by=user.id)

    begun, ended = await _entries(db, report.run)
    assert [(entry.action, entry.entity, entry.actor_user_id) for entry in (begun, ended)] == [
        ("begin", "retention", user.id),
        ("end", "retention", user.id),
    ]
    assert begun.detail == {"policies": {"sessions": "0d", "memories": "0d", "costs": "400d", "attachments": "1d"}}
    assert ended.detail == {
        "removed": {"sessions": 1, "memories": 0, "costs": 0, "attachments": 0},
        "problems": {},
        "finished": True,
    }


async def test_when_the_time_is_up_the_next_run_goes_on(db: Database, hand: Hand, monkeypatch: Any) -> None:
    session = await make_run_session(db)
    await db.hub.logs.append(session, [{"role": "llm", "message": "x"}] * 40)
    hand.forward(10 * DAY)
    ticks = iter(range(1000))
    monkeypatch.setattr("agentdb.operating.retention.monotonic", lambda: float(next(ticks)))

    first = await apply(db, {**OFF, "context_log": WEEK}, batch=10, budget_seconds=3)
    second = await apply(db, {**OFF, "context_log": WEEK}, batch=10, budget_seconds=900)

    assert not first.finished
    assert second.finished
    assert (_removed(first), _removed(second)) == ({"context_log": 20}, {"context_log": 20})


async def test_runs_at_once_share_the_work(db: Database, hand: Hand) -> None:
    user = await make_user(db)
    session = await make_run_session(db, user_id=user.id)
    await db.hub.logs.append(session, [{"role": "llm", "message": "x"}] * 90)
    await db.hub.costs.append_many([{"source": "chat", "model": "m", "cost": 1, "user_id": user.id}] * 90)
    hand.forward(100 * DAY)
    policies = {**OFF, "context_log": WEEK, "costs": Keep(age=40 * DAY)}

    reports = await asyncio.gather(*(apply(db, policies, batch=9) for _ in range(4)))

    assert sum(_removed(report)["costs"] for report in reports) == 90
    assert sum(_removed(report)["context_log"] for report in reports) == 90
    assert (await db.hub.costs.total()).calls == 90
    assert await db.hub.costs.count() == await db.hub.logs.count() == 0


async def test_a_table_that_cannot_be_dealt_with_is_told_and_does_not_stop_the_others(
    db: Database, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await make_run_session(db)
    await db.hub.logs.append(session, [{"role": "llm", "message": "x"}])
    hand.forward(10 * DAY)
    rule = RULES["memories"]
    assert isinstance(rule, Purged)

    async def fail(*_: Any) -> tuple[int, bool]:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(rule, "purge", fail)
    report = await apply(db, {"context_log": WEEK})

    told = {table.table: (table.rows, table.finished, table.problem) for table in report.tables}
    assert not report.finished
    assert told["memories"] == (0, False, "the disk is gone")
    assert told["context_log"] == (1, True, None)
    _begun, ended = await _entries(db, report.run)
    assert ended.detail["problems"] == {"memories": "the disk is gone"}
