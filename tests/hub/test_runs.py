"""Runs and sessions: numbers that never collide."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound


async def test_runs_started_at_once_have_numbers_of_their_own(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")

    runs = await asyncio.gather(*(db.hub.runs.start(user_id=user.id, model_name="m") for _ in range(20)))

    assert len({run.run_id for run in runs}) == len({run.id for run in runs}) == 20
    assert {(run.subagent_id, run.session_id) for run in runs} == {(0, 1)}


async def test_sessions_begun_at_once_are_numbered_without_gaps(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    run = await db.hub.runs.start(user_id=user.id, model_name="m")

    sessions = await asyncio.gather(
        *(db.hub.runs.next_session(run_id=run.run_id, model_name="m", subagent_id=-(n % 2)) for n in range(20))
    )

    assert sorted(s.session_id for s in sessions if s.subagent_id == 0) == list(range(2, 12))
    assert sorted(s.session_id for s in sessions if s.subagent_id == -1) == list(range(1, 11))


async def test_a_session_is_found_by_its_four_numbers(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    run = await db.hub.runs.start(user_id=user.id, model_name="m")

    assert (await db.hub.runs.by_numbers(user_id=user.id, run_id=run.run_id, session_id=1)).id == run.id
    with pytest.raises(NotFound):
        await db.hub.runs.by_numbers(user_id=user.id, run_id=run.run_id, session_id=2)


async def test_what_is_not_there_is_refused(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")

    with pytest.raises(MissingReference) as no_user:
        await db.hub.runs.start(user_id=99, model_name="m")
    with pytest.raises(MissingReference) as no_host:
        await db.hub.runs.start(user_id=user.id, model_name="m", host_id=99)
    with pytest.raises(NotFound):
        await db.hub.runs.next_session(run_id=99, model_name="m")
    with pytest.raises(BadInput):
        await db.hub.runs.next_session(run_id=1, model_name="m", subagent_id=1)

    assert no_user.value.constraint == "fk_runs__user_id"
    assert no_host.value.constraint == "fk_run_session__host_id"
    assert await db.hub.runs.count() == 0


async def test_a_users_sessions_are_listed_newest_first(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    runs = [await db.hub.runs.start(user_id=user.id, model_name="m") for _ in range(3)]

    page = await db.hub.runs.newest(user_id=user.id, limit=2)

    assert [run.id for run in page.items] == [runs[2].id, runs[1].id]
    assert page.next is not None
