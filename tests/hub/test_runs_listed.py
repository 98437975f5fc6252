"""Lists of runs: one order, which is also the cursor's; and subagents."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, NotFound
from agentdb.models import RunSession
from agentdb.page import Page
from agentdb.testing.factories import make_host, make_run_session, make_user

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def numbers(sessions: list[RunSession]) -> list[tuple[int, int, int]]:
    return [(session.run_id, session.subagent_id, session.session_id) for session in sessions]


async def test_twenty_users_who_start_at_once_have_twenty_runs(db: Database) -> None:
    users = [await make_user(db) for _ in range(20)]

    runs = await asyncio.gather(*(db.hub.runs.start(user_id=user.id, model_name="m") for user in users))

    assert len({run.run_id for run in runs}) == 20
    assert {(run.subagent_id, run.session_id) for run in runs} == {(0, 1)}


async def test_the_number_of_a_run_is_never_given_again(db: Database) -> None:
    user, other, host = await make_user(db), await make_user(db), await make_host(db)
    newest = await db.hub.runs.start(user_id=other.id, host_id=host.id, model_name="m")

    await db.supervisor.users.remove(other.id)
    second = await db.hub.runs.start(user_id=user.id, host_id=host.id, model_name="m")
    await db.hub.hosts.remove(host.id)
    third = await db.hub.runs.start(user_id=user.id, model_name="m")

    assert newest.run_id < second.run_id < third.run_id
    assert newest.id < second.id < third.id


async def test_a_subagent_shares_the_run_of_its_parent_and_is_started_once(db: Database) -> None:
    parent = await make_run_session(db)

    outcomes = await asyncio.gather(
        *(db.hub.runs.start_subagent(parent, subagent_id=-1, model_name="s") for _ in range(8)), return_exceptions=True
    )
    other = await db.hub.runs.start_subagent(parent.run_id, subagent_id=-2, model_name="s", host_id=parent.host_id)

    [started] = [outcome for outcome in outcomes if isinstance(outcome, RunSession)]
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
    for subagent, number in ((started, -1), (other, -2)):
        assert (subagent.user_id, subagent.run_id) == (parent.user_id, parent.run_id)
        assert (subagent.subagent_id, subagent.session_id) == (number, 1)


async def test_a_subagent_of_no_run_is_refused_and_nothing_is_written(db: Database) -> None:
    parent = await make_run_session(db)
    await db.hub.runs.remove(parent.id)

    for run_id in (parent.run_id, 99):
        with pytest.raises(NotFound):
            await db.hub.runs.start_subagent(run_id, subagent_id=-1, model_name="m")
    for subagent_id in (0, 1):
        with pytest.raises(BadInput):
            await db.hub.runs.start_subagent(parent, subagent_id=subagent_id, model_name="m")
    with pytest.raises(BadInput, match="ck_run_session__subagent_id"):
        await db.hub.runs.update(
            (await make_run_session(db)).id,
            subagent_id=5,
        )

    assert await db.hub.runs.count(subagent_id__ne=0) == 0


async def test_the_latest_is_the_main_agents_of_the_newest_run(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    assert await db.hub.runs.latest(user.id) is None
    old = await db.hub.runs.start(user_id=user.id, model_name="m")
    new = await db.hub.runs.start(user_id=user.id, model_name="m")
    last = await db.hub.runs.next_session(run_id=new.run_id, model_name="m")
    await db.hub.runs.start_subagent(new, subagent_id=-1, model_name="m")
    await db.hub.runs.next_session(run_id=old.run_id, model_name="m")
    await db.hub.runs.start(user_id=other.id, model_name="m")

    latest = await db.hub.runs.latest(user.id)

    assert latest is not None
    assert latest.id == last.id


async def _tree(db: Database) -> list[RunSession]:
    """Make two runs of two users on two hosts, an hour each, with subagents that begin in between."""
    made = []
    with clock.hold(NOON) as hand:
        users = [await make_user(db), await make_user(db)]
        hosts = [await make_host(db), await make_host(db)]
        for number in range(4):
            run = await db.hub.runs.start(
                user_id=users[number % 2].id, host_id=hosts[number // 2].id, model_name=str(number)
            )
            made.append(run)
            made += [
                await db.hub.runs.start_subagent(run, subagent_id=subagent, model_name="s", host_id=run.host_id)
                for subagent in (-2, -1)
            ]
            made.append(await db.hub.runs.next_session(run_id=run.run_id, model_name="m", host_id=run.host_id))
            hand.forward(HOUR)
        made.append(await db.hub.runs.next_session(run_id=made[0].run_id, model_name="m", subagent_id=-2))
    return sorted(made, key=lambda made: numbers([made])[0], reverse=True)


async def test_sessions_are_listed_by_run_and_the_main_agent_comes_before_its_subagents(db: Database) -> None:
    tree = await _tree(db)
    oldest = tree[-1].run_id

    own = await db.hub.runs.sessions(oldest, limit=2)
    rest = await db.hub.runs.sessions(oldest, after=own.next)

    assert [number[1:] for number in numbers(own.items + rest.items)] == [(0, 2), (0, 1), (-1, 1), (-2, 2), (-2, 1)]
    assert numbers((await db.hub.runs.list()).items) == numbers(tree)


async def test_pages_neither_skip_nor_repeat_whatever_happens_meanwhile(
    db: Database, subtests: pytest.Subtests
) -> None:
    tree = await _tree(db)
    user_id, host_id = tree[0].user_id, tree[0].host_id
    until = NOON + 3 * HOUR

    for limit in (1, 3, 7):
        with subtests.test(limit=limit):
            for asked, expected in (
                ({}, tree),
                ({"user_id": user_id}, [s for s in tree if s.user_id == user_id]),
                ({"host_id": host_id}, [s for s in tree if s.host_id == host_id]),
                (
                    {"user_id": user_id, "host_id": host_id},
                    [s for s in tree if (s.user_id, s.host_id) == (user_id, host_id)],
                ),
                ({"since": NOON + HOUR, "until": until}, [s for s in tree if NOON + HOUR <= s.created_at < until]),
            ):
                seen: list[RunSession] = []
                after: str | None = None
                while True:
                    page: Page[RunSession] = await db.hub.runs.list(**asked, limit=limit, after=after)
                    seen += page.items
                    # What was read becomes the most active, and what was not the least: neither moves it.
                    await db.hub.heartbeats.beat({s.host_id or 0: [s.id] for s in page.items[-1:]})
                    await db.hub.logs.append(page.items[0], [{"role": "llm", "message": "a"}])
                    if page.next is None:
                        break
                    after = page.next
                assert numbers(seen) == numbers(expected)


async def test_a_cursor_of_another_list_is_refused(db: Database) -> None:
    tree = await _tree(db)
    page = await db.hub.runs.list(limit=1)

    for call in (
        db.hub.runs.list(user_id=tree[0].user_id, after=page.next),
        db.hub.runs.sessions(tree[0].run_id, after=page.next),
        db.hub.runs.list(limit=0),
    ):
        with pytest.raises(BadInput):
            await call
