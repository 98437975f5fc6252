"""Heartbeats: moments move forward, in one statement, in nobody's way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.hub.heartbeats import Unknown
from agentdb.models import RunSession, UserNotification
from agentdb.repository import Repository
from agentdb.testing.factories import make_host, make_run_session, make_user
from agentdb.unit import Unit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=2)


async def _append(session: RunSession, unit: Unit) -> None:
    await unit.hub.logs.append(session, [{"role": "llm", "message": "a"}])


class Notifications(Repository[UserNotification]):
    model = UserNotification


async def test_a_beat_of_many_hosts_moves_hosts_sessions_and_users(db: Database) -> None:
    with clock.hold(NOON) as hand:
        hosts = [await make_host(db) for _ in range(3)]
        sessions = [await make_run_session(db, host_id=host.id) for host in hosts for _ in range(2)]
        hand.forward(STEP)

        unknown = await db.hub.heartbeats.beat(
            {host.id: [s.id for s in sessions if s.host_id == host.id] for host in hosts[:2]}
        )

    assert unknown == Unknown([], [])
    for host in hosts:
        assert (await db.hub.hosts.get(host.id)).last_active == NOON + STEP * (host is not hosts[2])
    for session in sessions[:4]:
        stored = await db.hub.runs.get(session.id)
        notification = await Notifications(db._over).get(session.user_id)
        assert stored.last_active == stored.updated_at == NOON + STEP
        assert (notification.latest_host_id, notification.last_active) == (session.host_id, NOON + STEP)
    assert (await db.hub.runs.get(sessions[4].id)).last_active == NOON
    assert await Notifications(db._over).count() == 4


async def test_a_clock_that_is_behind_moves_nothing_back(db: Database) -> None:
    with clock.hold(NOON):
        session = await make_run_session(db)
        await db.hub.heartbeats.beat({session.host_id or 0: [session.id]})
    with clock.hold(NOON - STEP):
        await db.hub.heartbeats.beat({session.host_id or 0: [session.id]})

    assert (await db.hub.hosts.get(session.host_id)).last_active == NOON
    assert (await db.hub.runs.get(session.id)).last_active == NOON
    notification = await Notifications(db._over).get(session.user_id)
    assert notification.last_active == notification.updated_at == NOON


async def test_a_host_that_never_was_active_is_from_then_on(db: Database) -> None:
    host = await db.hub.hosts.create("box")

    with clock.hold(NOON):
        await db.hub.heartbeats.beat({host.id: []})

    assert (await db.hub.hosts.get(host.id)).last_active == NOON


async def test_what_nobody_knows_is_told_and_the_rest_counts(db: Database) -> None:
    with clock.hold(NOON) as hand:
        session, other = await make_run_session(db), await make_run_session(db)
        hand.forward(STEP)

        unknown = await db.hub.heartbeats.beat({session.host_id or 0: [session.id, 998], 999: [other.id, 997]})

    assert unknown == Unknown([999], sorted([other.id, 997, 998]))
    assert (await db.hub.runs.get(session.id)).last_active == NOON + STEP
    assert (await db.hub.runs.get(other.id)).last_active == NOON
    assert await db.hub.heartbeats.beat({}) == Unknown([], [])
    with pytest.raises(BadInput):
        await db.hub.heartbeats.beat({session.host_id or 0: ["1"]})  # type: ignore[list-item]


async def test_a_user_was_last_seen_on_the_host_of_the_newest_session(db: Database) -> None:
    user, first, second = await make_user(db), await make_host(db), await make_host(db)
    old = await make_run_session(db, user_id=user.id, host_id=second.id)
    new = await make_run_session(db, user_id=user.id, host_id=first.id)
    subagent = await db.hub.runs.start_subagent(new, subagent_id=-1, model_name="m", host_id=first.id)

    await db.hub.heartbeats.beat({first.id: [subagent.id, new.id], second.id: [old.id]})

    assert (await Notifications(db._over).get(user.id)).latest_host_id == first.id


async def test_followers_see_a_user_again_only_on_another_host(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    session, other = await make_run_session(db), await make_host(db)
    notifications = Notifications(db._over)

    async def tx_after(host_id: int | None) -> int:
        await db.hub.heartbeats.beat({host_id or 0: [session.id]})
        return (await notifications.get(session.user_id)).tx

    first, same, moved = [await tx_after(host) for host in (session.host_id, session.host_id, other.id)]

    assert first == same < moved


async def test_beats_logs_and_costs_at_once_wait_for_each_other_in_one_order(db: Database) -> None:
    hosts = [await make_host(db) for _ in range(4)]
    users = [await make_user(db) for _ in range(4)]
    sessions: list[RunSession] = [
        await make_run_session(db, user_id=user.id, host_id=host.id) for user in users for host in hosts
    ]
    chance = Random(7)  # noqa: S311

    async def beats() -> None:
        for _ in range(12):
            mixed = chance.sample(sessions, len(sessions))
            told = {host.id: [s.id for s in mixed if s.host_id == host.id] for host in chance.sample(hosts, 4)}
            assert await db.hub.heartbeats.beat(told) == Unknown([], [])

    async def logs() -> None:
        for session in chance.sample(sessions, len(sessions)):
            # An append locks and changes in one statement, which PostgreSQL may call a deadlock: then it runs again.
            await db.run(partial(_append, session))

    async def costs() -> None:
        for session in chance.sample(sessions, len(sessions)):
            await db.hub.costs.append(
                source="console", model="m", cost=1, user_id=session.user_id, run_session_id=session.id
            )

    async with asyncio.timeout(60):
        await asyncio.gather(*(work() for work in (beats, logs, costs) for _ in range(4)))

    totals = [await db.hub.runs.get(session.id) for session in sessions]
    assert {(stored.total_lines, stored.total_cost) for stored in totals} == {(4, Decimal(4))}


async def test_a_host_and_a_user_removed_meanwhile_are_unknown_and_nothing_fails(db: Database) -> None:
    hosts = [await make_host(db) for _ in range(6)]
    sessions = [await make_run_session(db, host_id=host.id) for host in hosts for _ in range(2)]
    told = {host.id: [s.id for s in sessions if s.host_id == host.id] for host in hosts}

    async def beats() -> None:
        for _ in range(10):
            await db.hub.heartbeats.beat(told)

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(beats() for _ in range(4)),
            *(db.hub.hosts.remove(host.id) for host in hosts[:3]),
            *(db.supervisor.users.remove(session.user_id) for session in sessions[::2]),
        )
        unknown = await db.hub.heartbeats.beat(told)

    gone = sorted({s.id for s in sessions[::2]} | {s.id for s in sessions[:6]})
    assert unknown == Unknown([host.id for host in hosts[:3]], gone)
