"""Notifications: who polls or follows learns of each change once, and pointers only move forward."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

import agentdb
from agentdb import Database
from agentdb.errors import BadInput, MissingReference
from agentdb.models import UserNotification
from agentdb.testing.factories import make_run_session, make_user

NEVER = 3600.0


async def _append(db: Database, session: int, lines: int = 1) -> int:
    logs = await db.hub.logs.append(session, [{"role": "llm", "message": "a"}] * lines)
    return logs[-1].id


async def test_what_is_newest_for_some_users(db: Database) -> None:
    one, other = await make_run_session(db), await make_run_session(db)
    newest = await _append(db, one.id)

    (own,) = await db.hub.notifications.of([one.user_id, other.user_id])
    assert (own.user_id, own.latest_log_id) == (one.user_id, newest)
    assert (await db.hub.notifications.get(one.user_id)).latest_log_id == newest
    assert await db.hub.notifications.find(other.user_id) is None
    assert await db.hub.notifications.of([]) == []


async def test_a_poll_gives_what_has_changed_since_and_nothing_else(db: Database) -> None:
    runs = [await make_run_session(db) for _ in range(3)]
    for run in runs:
        await _append(db, run.id)
    first = await db.hub.notifications.changed()
    assert [change.row.user_id for change in first] == [run.user_id for run in runs]
    cursor = json.loads(json.dumps(first[-1].cursor))
    assert await db.hub.notifications.changed(after=cursor) == []

    await _append(db, runs[1].id)
    latest = await _append(db, runs[0].id)
    await _append(db, runs[1].id)

    changed = await db.hub.notifications.changed(after=cursor)
    assert [change.row.user_id for change in changed] == [runs[0].user_id, runs[1].user_id]
    assert changed[0].row.latest_log_id == latest
    assert await db.hub.notifications.changed(after=changed[-1].cursor) == []
    behind = await db.hub.notifications.changed(after=changed[0].cursor)
    assert [change.cursor for change in behind] == [changed[1].cursor]
    assert [c.row.user_id for c in await db.hub.notifications.changed(after=cursor, limit=1)] == [runs[0].user_id]


async def test_a_change_after_the_last_changed_user_is_gone_is_not_missed(db: Database) -> None:
    staying, going = await make_run_session(db), await make_run_session(db)
    await _append(db, staying.id)
    for _ in range(3):
        await _append(db, going.id)
    cursor = (await db.hub.notifications.changed())[-1].cursor

    await db.hub.notifications.remove(going.user_id)
    await _append(db, staying.id)

    changed = await db.hub.notifications.changed(after=cursor)
    assert [change.row.user_id for change in changed] == [staying.user_id]
    cursor = changed[-1].cursor
    for run in (staying, going):
        await db.hub.notifications.remove(run.user_id)
    await _append(db, going.id)
    assert [c.row.user_id for c in await db.hub.notifications.changed(after=cursor)] == [going.user_id]


async def test_a_heartbeat_is_no_change_and_another_host_is(db: Database) -> None:
    run = await make_run_session(db)
    await _append(db, run.id)
    assert run.host_id is not None
    await db.hub.notifications.update(run.user_id, latest_host_id=run.host_id)
    cursor = await db.hub.notifications.end()

    await db.hub.heartbeats.beat({run.host_id: [run.id]})
    assert await db.hub.notifications.changed(after=cursor) == []

    other = await db.hub.hosts.register(name="other")
    await db.hub.heartbeats.beat({other.id: [run.id]})
    (change,) = await db.hub.notifications.changed(after=cursor)
    assert change.row.latest_host_id == other.id


async def test_an_upsert_is_a_change_whether_it_inserts_or_updates(db: Database) -> None:
    user = await make_user(db)
    cursor = None
    for newest in (3, 5):
        row = await db.hub.notifications.upsert(on=["user_id"], user_id=user.id, latest_mail_id=newest)
        (change,) = await db.hub.notifications.changed(after=cursor)
        assert (change.row.latest_mail_id, change.row.tx) == (newest, row.tx)
        cursor = change.cursor


async def test_a_touch_is_seen_even_of_a_user_with_nothing_yet(db: Database) -> None:
    user = await make_user(db)
    changes = db.hub.notifications.follow(after=await db.hub.notifications.end(), poll_seconds=NEVER)
    waiting = asyncio.ensure_future(_next(changes, 1))
    await asyncio.sleep(0.1)

    await db.hub.notifications.touch(user.id)
    assert [row.user_id for row in await waiting] == [user.id]
    waiting = asyncio.ensure_future(_next(changes, 1))
    await asyncio.sleep(0.1)
    async with db.write() as unit:
        await unit.hub.notifications.touch(user.id)
    assert [row.user_id for row in await waiting] == [user.id]
    await changes.aclose()
    with pytest.raises(MissingReference):
        await db.hub.notifications.touch(10**6)


async def _next(changes: Any, number: int) -> list[UserNotification]:
    async with asyncio.timeout(20):
        return [(await anext(changes)).row for _ in range(number)]


async def test_cursors_of_other_lists_are_refused(db: Database) -> None:
    for cursor in ("nonsense", await db.hub.logs.end()):
        with pytest.raises(BadInput):
            await db.hub.notifications.changed(after=cursor)
    async with db.write() as unit:
        with pytest.raises(BadInput, match="unit"):
            unit.hub.notifications.follow()


async def test_pointers_never_move_back_and_pollers_end_up_with_the_truth(db: Database) -> None:
    """Two who poll, one slow and one quick, while logs are appended in units that commit in any order."""
    runs = [await make_run_session(db) for _ in range(4)]
    chance = random.Random(3)  # noqa: S311
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(25):
            run = chance.choice(runs)
            if chance.random() < 0.3:
                async with db.write() as unit:
                    await unit.hub.logs.append(run, [{"role": "llm", "message": "a"}])
                    await asyncio.sleep(chance.choice([0, 0.02]))
            else:
                await _append(db, run.id)

    async def poll(seconds: float) -> dict[int, list[int]]:
        seen: dict[int, list[int]] = {}
        cursor: str | None = None
        while True:
            last = done.is_set()
            for change in await db.hub.notifications.changed(after=cursor, limit=3):
                seen.setdefault(change.row.user_id, []).append(change.row.latest_log_id)
                cursor = change.cursor
                last = False
            if last:
                return seen
            await asyncio.sleep(seconds)

    pollers = [asyncio.create_task(poll(seconds)) for seconds in (0.001, 0.05)]
    await asyncio.gather(*(write() for _ in range(6)))
    done.set()

    truth = {row.user_id: row.latest_log_id async for row in db.hub.notifications.stream()}
    async with asyncio.timeout(20):
        for poller in pollers:
            seen = await poller
            assert {user: pointers[-1] for user, pointers in seen.items()} == truth
            assert all(pointers == sorted(set(pointers)) for pointers in seen.values())


async def test_a_change_in_another_process_is_followed(db: Database) -> None:
    run = await make_run_session(db)
    path = getattr(db._there(), "path", None)
    url = db.settings.target.secret_url() if path is None else f"sqlite:///{path}"
    changes = db.hub.notifications.follow(poll_seconds=NEVER)
    waiting = asyncio.ensure_future(_next(changes, 1))
    await asyncio.sleep(0.2)

    async with agentdb.connect(url) as other:
        await _append(other, run.id)

        assert [row.user_id for row in await waiting] == [run.user_id]
    await changes.aclose()
