"""Pointers of the log: they only move forward, whatever committed first."""

from __future__ import annotations

import asyncio

from agentdb.database import Database
from agentdb.models import UserNotification
from agentdb.repository import Repository
from agentdb.testing.factories import make_run_session

FAR = 10**9


class Notifications(Repository[UserNotification]):
    model = UserNotification


async def test_a_pointer_that_is_ahead_stays_where_it_is(db: Database) -> None:
    run = await make_run_session(db)
    await db.hub.logs.append(run, [{"role": "llm", "message": "a"}])
    await db.hub.runs.update(run.id, latest_log_id=FAR)
    await Notifications(db._over).update(run.user_id, latest_log_id=FAR)

    await db.hub.logs.append(run, [{"role": "llm", "message": "b"}])

    assert (await db.hub.runs.get(run.id)).latest_log_id == FAR
    assert (await Notifications(db._over).get(run.user_id)).latest_log_id == FAR


async def test_an_append_that_was_held_up_does_not_move_its_users_pointer_back(db: Database) -> None:
    held = await make_run_session(db)
    free = await db.hub.runs.next_session(run_id=held.run_id, model_name="m")

    async with db.write() as unit:
        await unit.hub.runs.update(held.id, model_name="held")
        appends = []
        for session in (held, free):  # on PostgreSQL the first has its id by now, and waits; on SQLite both wait
            appends.append(asyncio.create_task(db.hub.logs.append(session, [{"role": "llm", "message": "a"}])))
            await asyncio.sleep(0.1)
    logs = [log for appended in await asyncio.gather(*appends) for log in appended]

    newest = max(log.id for log in logs)
    assert (await Notifications(db._over).get(held.user_id)).latest_log_id == newest
