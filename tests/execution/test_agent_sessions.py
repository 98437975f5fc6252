"""Agents' sessions: which status follows which, who wins, and what is kept of writers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound, StaleVersion
from agentdb.execution.models import AgentSession, AgentSessionStatus
from agentdb.testing.factories import make_user
from tests.execution.sessions import ALLOWED, MOVES, NOON, make_agent, start


async def test_a_status_follows_only_where_it_may(db: Database, subtests: pytest.Subtests) -> None:
    user, agent = (await make_user(db)).id, await make_agent(db)

    for before, after in product(MOVES, repeat=2):
        with subtests.test(before=before, after=after):
            session = await start(db, user_id=user, agent_id=agent)
            if before != "running":
                session = await MOVES[before](db, session.id)

            if (before, after) in ALLOWED:
                moved = await MOVES[after](db, session.id)
                assert moved.status == after
                assert moved.version == session.version + 1
                assert (moved.completed_at is not None) == (after in ("completed", "failed"))
            else:
                with pytest.raises(InvalidTransition, match=f"is {before} and cannot be {after}"):
                    await MOVES[after](db, session.id)
                assert (await db.execution.agent_sessions.get(session.id)).version == session.version


async def test_of_many_who_end_a_session_at_once_exactly_one_does(db: Database) -> None:
    sessions = db.execution.agent_sessions
    session, other = await start(db), await start(db)
    changes: list[Callable[..., Awaitable[AgentSession]]] = [
        sessions.pause,
        sessions.complete,
        partial(sessions.fail, error="no"),
    ] * 5

    answers = await asyncio.gather(
        *(change(session.id, expected_version=session.version) for change in changes), return_exceptions=True
    )

    assert sum(isinstance(answer, AgentSession) for answer in answers) == 1
    assert sum(isinstance(answer, StaleVersion) for answer in answers) == len(changes) - 1
    assert (await sessions.get(session.id)).version == session.version + 1
    # Nobody says which version is meant: who comes late is told that it has ended.
    answers = await asyncio.gather(*(sessions.complete(other.id) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(answer, AgentSession) for answer in answers) == 1
    assert sum(isinstance(answer, InvalidTransition) for answer in answers) == 9


async def test_checkpoints_appended_at_once_are_all_kept(db: Database) -> None:
    sessions = db.execution.agent_sessions
    session = await start(db)

    numbers = await asyncio.gather(*(sessions.checkpoint(session.id, {"step": step}) for step in range(50)))

    assert sorted(numbers) == list(range(1, 51))
    kept = (await sessions.get(session.id)).checkpoints
    assert sorted(one["state"]["step"] for one in kept) == list(range(50))
    assert [kept[number - 1]["state"]["step"] for number in numbers] == list(range(50))


async def test_a_change_of_the_status_may_bring_a_checkpoint(db: Database) -> None:
    sessions = db.execution.agent_sessions
    session = await start(db)

    paused = await sessions.pause(session.id, checkpoint={"step": 1})
    with pytest.raises(InvalidTransition):
        await sessions.pause(session.id, checkpoint={"step": 2})

    assert [one["state"] for one in paused.checkpoints] == [{"step": 1}]
    assert (await sessions.get(session.id)).checkpoints == paused.checkpoints


async def test_what_is_patched_and_counted_at_once_is_all_kept_and_null_takes_away(db: Database) -> None:
    sessions = db.execution.agent_sessions
    session = await start(db, variables={"gone": 1, "kept": {"a": 1, "b": 2}}, context={"goal": "x"})

    await asyncio.gather(
        *(sessions.patch(session.id, variables={f"key {n}": n}) for n in range(20)),
        *(sessions.record(session.id, messages=2, tools=["web", f"tool {n % 3}"]) for n in range(12)),
    )
    patched = await sessions.patch(session.id, variables={"gone": None, "kept": {"b": None, "c": [1]}})

    assert patched.variables == {"kept": {"a": 1, "c": [1]}, **{f"key {n}": n for n in range(20)}}
    assert patched.context == {"goal": "x"}
    assert patched.messages_count == 24
    assert patched.tools_used == ["tool 0", "tool 1", "tool 2", "web"]
    counted = await sessions.record(session.id, messages=1)
    assert counted.version == patched.version


async def test_what_has_ended_or_is_anothers_takes_nothing(db: Database) -> None:
    sessions = db.execution.agent_sessions
    session, live, stranger = await start(db), await start(db), await make_user(db)
    await sessions.complete(session.id)

    for call in (
        sessions.checkpoint(session.id, {}),
        sessions.patch(session.id, variables={"a": 1}),
        sessions.record(session.id, messages=1),
        sessions.touch(session.id),
    ):
        with pytest.raises(InvalidTransition, match="is completed"):
            await call
    for call in (
        sessions.pause(live.id, user_id=stranger.id),
        sessions.checkpoint(live.id, {}, user_id=stranger.id),
        sessions.patch(live.id, variables={}, user_id=stranger.id),
        sessions.record(live.id, user_id=stranger.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await sessions.get(live.id)).status is AgentSessionStatus.running


async def test_last_active_moves_forward_only(db: Database) -> None:
    with clock.hold(NOON) as hand:
        session = await start(db)
        hand.forward(timedelta(minutes=5))
        later = await db.execution.agent_sessions.touch(session.id)
    with clock.hold(NOON):
        again = await db.execution.agent_sessions.touch(session.id)

    assert later.last_active_at == session.last_active_at + timedelta(minutes=5)
    assert again.last_active_at == later.last_active_at


REFUSED: tuple[Callable[[Any, int], Awaitable[object]], ...] = (
    lambda s, _: s.checkpoint("1", {}),
    lambda s, key: s.patch(key, variables=["a"]),
    lambda s, key: s.record(key, messages=-1),
    lambda s, key: s.record(key, messages=True),
    lambda s, key: s.record(key, tools=[1]),
    lambda s, key: s.fail(key, ""),
    lambda s, key: s.fail(key, 5),
    lambda s, _: s.expire(0),
    lambda s, _: s.expire(float("nan")),
    lambda s, _: s.expire("5"),
    lambda s, _: s.expire_all(60, budget_seconds=0),
    lambda s, _: s.of_user(1, statuses=["asleep"]),
    lambda s, _: s.of_user(1, statuses=[5]),
    lambda s, key: s.upsert(on=["id"], id=key, status="completed"),
    lambda s, key: s.remove(key),
    lambda s, _: s.add(user_id=1),
    lambda s, key: s.update(key, status="running"),
    lambda s, key: s.pause(key, expected_version="1"),
)


async def test_what_makes_no_sense_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    session = await start(db)

    for number, call in enumerate(REFUSED):
        with subtests.test(call=number):
            with pytest.raises(BadInput):
                await call(db.execution.agent_sessions, session.id)
            assert (await db.execution.agent_sessions.get(session.id)).version == 1
