"""Agents' sessions: their conversations, their lists, and the end of the silent ones."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import delete

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.execution.models import AgentSession, AgentSessionStatus
from agentdb.testing.factories import make_conversation, make_user
from tests.execution.sessions import MOVES, NOON, make_agent, start


async def test_a_session_and_its_conversation_refer_to_each_other(db: Database) -> None:
    talk = await make_conversation(db)

    first = await start(db, user_id=talk.user_id, conversation_id=talk.id)
    second = await start(db, user_id=talk.user_id, conversation_id=talk.id)

    assert (await db.conversation.conversations.get(talk.id)).session_id == second.id
    page = await db.execution.agent_sessions.of_conversation(talk.id)
    assert [session.id for session in page.items] == [second.id, first.id]


async def test_nobody_works_in_anothers_conversation_nor_in_a_deleted_one(db: Database) -> None:
    talk, gone = await make_conversation(db), await make_conversation(db)
    await db.conversation.conversations.delete(gone.id)

    with pytest.raises(NotFound):
        await start(db, conversation_id=talk.id)
    with pytest.raises(NotFound):
        await start(db, user_id=gone.user_id, conversation_id=gone.id)
    with pytest.raises(MissingReference):
        await start(db, user_id=10**9)
    with pytest.raises(MissingReference):
        await start(db, agent_id=10**9)
    assert await db.execution.agent_sessions.count() == 0


async def test_silent_sessions_fail_in_batches_and_can_be_recovered(db: Database) -> None:
    sessions = db.execution.agent_sessions
    user, agent = (await make_user(db)).id, await make_agent(db)
    with clock.hold(NOON) as hand:
        silent = [await start(db, user_id=user, agent_id=agent) for _ in range(5)]
        hand.forward(timedelta(seconds=1))
        await sessions.pause(silent[0].id)
        await sessions.touch(silent[2].id)
        done = await start(db, user_id=user, agent_id=agent)
        await sessions.complete(done.id)
        hand.forward(timedelta(hours=1))
        busy = await start(db, user_id=user, agent_id=agent)

        assert await sessions.expire(1_800, limit=3) == 3
        assert {one.id for one in (await sessions.live()).items} == {silent[0].id, silent[2].id, busy.id}
        assert sum(await asyncio.gather(*(sessions.expire(1_800, limit=3) for _ in range(3)))) == 2
        assert await sessions.expire(1_800) == 0

        assert {one.id for one in (await sessions.live()).items} == {busy.id}
        failed = await sessions.get(silent[0].id)
        assert failed.status is AgentSessionStatus.failed
        assert failed.error_logs[0]["error"] == "nothing happened for 1800 seconds"
        assert (await sessions.get(done.id)).status is AgentSessionStatus.completed
        assert (await sessions.resume(silent[0].id)).completed_at is None


async def test_lists_are_pages_last_active_first(db: Database) -> None:
    sessions = db.execution.agent_sessions
    user, agent = (await make_user(db)).id, await make_agent(db)
    with clock.hold(NOON) as hand:
        made = []
        for _ in range(5):
            hand.forward(timedelta(seconds=1))
            made.append((await start(db, user_id=user, agent_id=agent)).id)
    await start(db)
    await sessions.complete(made[2])

    first = await sessions.of_user(user, limit=3)
    rest = await sessions.of_user(user, limit=3, after=first.next)
    live = await sessions.of_agent(agent, statuses=["running", "paused"])

    assert [one.id for one in first.items + rest.items] == [made[2], made[4], made[3], made[1], made[0]]
    assert [one.id for one in live.items] == [made[4], made[3], made[1], made[0]]
    assert rest.next is None


async def test_lists_may_be_of_some_statuses(db: Database) -> None:
    sessions = db.execution.agent_sessions
    user, agent = (await make_user(db)).id, await make_agent(db)
    made = {status: (await start(db, user_id=user, agent_id=agent)).id for status in MOVES}
    for status in ("paused", "completed", "failed"):
        await MOVES[status](db, made[status])

    for status in MOVES:
        assert [one.id for one in (await sessions.of_user(user, statuses=[status])).items] == [made[status]]
    over = await sessions.of_agent(agent, statuses=["failed", "completed"], limit=1)
    rest = await sessions.of_agent(agent, statuses=["completed", "failed"], limit=1, after=over.next)
    assert [one.id for one in over.items + rest.items] == [made["failed"], made["completed"]]
    with pytest.raises(BadInput):
        await sessions.of_user(user, statuses=["completed"], after=over.next)  # another list's


async def test_a_session_goes_on_in_another_conversation(db: Database) -> None:
    sessions = db.execution.agent_sessions
    talk = await make_conversation(db)
    other = await make_conversation(db, user_id=talk.user_id)
    session = await start(db, user_id=talk.user_id)

    for conversation in (talk, other, other):
        moved = await sessions.link(session.id, conversation.id)
        assert moved.conversation_id == conversation.id

    stored = [(await db.conversation.conversations.get(one.id)).session_id for one in (talk, other)]
    assert stored == [None, session.id]
    assert [one.id for one in (await sessions.of_conversation(other.id)).items] == [session.id]


async def test_a_session_goes_on_in_no_conversation_of_somebody_else(db: Database) -> None:
    sessions = db.execution.agent_sessions
    session, talk = await start(db), await make_conversation(db)
    gone = await make_conversation(db, user_id=session.user_id)
    await db.conversation.conversations.delete(gone.id)

    for call in (
        sessions.link(session.id, talk.id),
        sessions.link(session.id, talk.id, user_id=talk.user_id),
        sessions.link(session.id, gone.id),
        sessions.link(session.id, 10**9),
        sessions.link(10**9, talk.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await sessions.get(session.id)).conversation_id is None
    assert (await db.conversation.conversations.get(talk.id)).session_id is None


async def test_sessions_that_change_places_at_once_end_somewhere_each(db: Database) -> None:
    sessions = db.execution.agent_sessions
    talk = await make_conversation(db)
    other = await make_conversation(db, user_id=talk.user_id)
    places = [await start(db, user_id=talk.user_id, conversation_id=one.id) for one in (talk, other)]

    await asyncio.gather(
        *(sessions.link(session.id, one.id) for _ in range(5) for session in places for one in (talk, other))
    )

    for conversation in (talk, other):
        session_id = (await db.conversation.conversations.get(conversation.id)).session_id
        if session_id is not None:
            assert (await sessions.get(session_id)).conversation_id == conversation.id


async def test_what_becomes_of_a_session_without_its_conversation_and_the_other_way(db: Database) -> None:
    sessions = db.execution.agent_sessions
    talk = await make_conversation(db)
    first = await start(db, user_id=talk.user_id, conversation_id=talk.id)
    async with db.write() as unit:
        await unit.session.execute(delete(AgentSession))
    assert (await db.conversation.conversations.get(talk.id)).session_id is None

    second = await start(db, user_id=talk.user_id, conversation_id=talk.id)
    await db.conversation.conversations.delete(talk.id)
    await db.conversation.conversations.purge(talk.id)

    assert await sessions.find(first.id) is None
    assert (await sessions.get(second.id)).conversation_id is None


async def test_expiring_stops_when_the_time_is_up_and_goes_on_from_there(db: Database) -> None:
    sessions = db.execution.agent_sessions
    user, agent = (await make_user(db)).id, await make_agent(db)
    with clock.hold(NOON) as hand:
        for _ in range(7):
            await start(db, user_id=user, agent_id=agent)
        hand.forward(timedelta(hours=1))

        first = await sessions.expire_all(60, budget_seconds=1e-6, batch=3)
        rest = await sessions.expire_all(60, batch=3)

    assert (first.expired, first.finished) == (3, False)
    assert (rest.expired, rest.finished) == (4, True)
