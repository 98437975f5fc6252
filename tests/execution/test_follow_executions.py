"""Whoever follows an execution sees every status it and its nodes come to: in order, once, from any cursor."""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, update

from agentdb import clock
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError, BadInput, ReadOnly
from agentdb.execution.models import ExecutionChange
from agentdb.execution.records import Backoff
from agentdb.following import NOW, Change
from tests.execution.queues import claim_one, enqueue, make_workflow

LATER = datetime(2126, 3, 1, 12, tzinfo=UTC)
AT_ONCE = Backoff(0.001, 0.001)


async def take(changes: AsyncIterator[Change[ExecutionChange]], number: int) -> list[Change[ExecutionChange]]:
    async with asyncio.timeout(30):
        return [await anext(changes) for _ in range(number)]


def said(changes: list[Change[ExecutionChange]]) -> list[tuple[str | None, int, str]]:
    return [(change.row.node_id, change.row.attempt, str(change.row.status)) for change in changes]


async def test_every_status_comes_in_order_though_nobody_looked_meanwhile(db: Database) -> None:
    executions, logs = db.execution.executions, db.execution.node_logs
    (row,) = await enqueue(db)
    (other,) = await enqueue(db)
    with clock.hold(LATER) as hand:
        first = await claim_one(executions)
        await logs.start(first, "a")
        await logs.start(first, "a")  # begun again
        await logs.complete(first, "a", 1)
        await logs.start(first, "b")
        await logs.fail(first, "b", "no")
        await executions.heartbeat([first])
        await executions.fail(first, "no", retry=False)
        await executions.retry(row.id)
        hand.forward(timedelta(minutes=1))
        second = next(claim for claim in await executions.claim("w", n=2) if claim.id == row.id)
        await logs.append_many(second, [{"node_id": "b", "status": "completed"}, {"node_id": "c", "status": "skipped"}])
        await executions.complete(second, "done")

    changes = executions.follow(row.id)
    seen = await take(changes, 13)
    assert said(seen) == [
        (None, 0, "pending"),
        (None, 1, "running"),
        ("a", 1, "running"),
        ("a", 1, "running"),
        ("a", 1, "completed"),
        ("b", 1, "running"),
        ("b", 1, "failed"),
        (None, 1, "failed"),
        (None, 1, "pending"),
        (None, 2, "running"),
        ("b", 2, "completed"),
        ("c", 2, "skipped"),
        (None, 2, "completed"),
    ]
    assert [seen[place].row.created_at for place in (1, 12)] == [LATER, LATER + timedelta(minutes=1)]
    waiting = asyncio.ensure_future(anext(changes))
    await executions.cancel(other.id)
    await asyncio.sleep(0.2)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_each_way_to_a_status_is_noted(db: Database) -> None:
    executions = db.execution.executions
    rows = await enqueue(db, 6, max_attempts=2)
    with clock.hold(LATER) as hand:
        released, failed, many, stopped, lost, cancelled = await executions.claim("w", n=6, lease_seconds=10)
        await executions.release(released)
        await executions.fail(failed, "no", backoff=AT_ONCE)
        await executions.release_many([many])
        await executions.cancel(stopped.id)
        await executions.stop(stopped)
        await executions.cancel(cancelled.id)
        hand.forward(timedelta(seconds=11))
        assert len(await executions.rescue()) == 2
        await executions.cancel(lost.id)

    ends = {
        released.id: ["pending"],
        failed.id: ["pending"],
        many.id: ["pending"],
        stopped.id: ["cancelled"],
        lost.id: ["pending", "cancelled"],
        cancelled.id: ["cancelled"],
    }
    for row in rows:
        changes = executions.follow(row.id)
        wanted = ["pending", "running", *ends[row.id]]
        assert [status for _, _, status in said(await take(changes, len(wanted)))] == wanted
        await changes.aclose()


async def test_a_follower_goes_on_from_a_cursor_that_went_through_json(db: Database) -> None:
    executions = db.execution.executions
    (row,) = await enqueue(db)
    changes = executions.follow(row.id)
    (first,) = await take(changes, 1)
    cursor = json.loads(json.dumps(first.cursor))
    await changes.aclose()
    claim = await claim_one(executions)
    behind_all = executions.follow(row.id, after=NOW)
    waiting = asyncio.ensure_future(take(behind_all, 1))
    await asyncio.sleep(0.2)
    await executions.complete(claim)

    again = executions.follow(row.id, after=cursor)
    assert said(await take(again, 2)) == [(None, 1, "running"), (None, 1, "completed")]
    assert said(await waiting) == [(None, 1, "completed")]
    await again.aclose()
    await behind_all.aclose()
    with pytest.raises(BadInput):
        executions.follow(row.id + 1, after=cursor)
    async with db.write() as unit:
        with pytest.raises(BadInput, match="unit"):
            unit.execution.executions.follow(row.id)


async def test_what_a_unit_undoes_is_not_seen_and_what_it_commits_late_is(db: Database) -> None:
    executions = db.execution.executions
    (row,) = await enqueue(db)
    changes = executions.follow(row.id)
    await take(changes, 1)

    with suppress(ZeroDivisionError):
        async with db.write() as unit:
            await unit.execution.executions.cancel(row.id)
            raise ZeroDivisionError
    async with db.write() as unit:
        waiting = asyncio.create_task(take(changes, 3), context=contextvars.Context())
        (claim,) = await unit.execution.executions.claim("w")
        await unit.execution.node_logs.start(claim, "a")
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await unit.execution.node_logs.complete(claim, "a")

    assert said(await waiting) == [(None, 1, "running"), ("a", 1, "running"), ("a", 1, "completed")]
    await changes.aclose()


async def test_what_was_noted_stays_until_its_execution_goes(db: Database) -> None:
    (row,) = await enqueue(db)
    await db.execution.executions.cancel(row.id)

    async def changes() -> int:
        count: list[Any] = await db._shortcut.fetch_all(
            Plan[Any](ExecutionChange.__table__.select(), name="test", rows=ExecutionChange), {}
        )
        return len(count)

    with pytest.raises(ReadOnly):
        await db._shortcut.execute(Plan[None](update(ExecutionChange).values(attempt=7), name="test"), {})
    if not db._shortcut.chains:  # there a deletion with the parent cannot be told from any other
        assert await changes() == 2
    else:
        with pytest.raises(ReadOnly):
            await db._shortcut.execute(Plan[None](delete(ExecutionChange), name="test"), {})
    assert await changes() == 2
    assert await db.execution.executions.prune(db.now() + timedelta(days=1)) == 1
    assert await changes() == 0


async def _live(db: Database, execution_id: int, chance: random.Random, done: asyncio.Event) -> None:
    """Do at random what may be done to an execution; several of these at once get in each other's way."""
    executions, logs = db.execution.executions, db.execution.node_logs
    for number in range(40):
        try:
            match chance.randrange(4):
                case 0:
                    await executions.retry(execution_id, attempts=100)
                case 1 if chance.random() < 0.2:
                    await executions.cancel(execution_id)
                case _:
                    for claim in await executions.claim("w"):
                        async with db.write() as unit:
                            await unit.execution.node_logs.start(claim, f"n{number}")
                            await asyncio.sleep(chance.choice([0, 0.01]))
                        await logs.complete(claim, f"n{number}")
                        await executions.fail(claim, "no", backoff=AT_ONCE, retry=chance.random() < 0.7)
        except AgentDBError:
            pass
        await asyncio.sleep(0.001)
    done.set()


async def test_whatever_many_do_a_follower_who_reconnects_sees_each_change_once_and_in_order(db: Database) -> None:
    workflow = await make_workflow(db)
    rows = await enqueue(db, 3, workflow, max_attempts=100)
    chance = random.Random(3)  # noqa: S311
    over = [asyncio.Event() for _ in range(6)]
    lives = [
        asyncio.create_task(_live(db, rows[n % 3].id, random.Random(n), over[n]))  # noqa: S311
        for n in range(6)
    ]
    seen: list[ExecutionChange] = []
    steady: list[int] = []

    async def watch_steadily() -> None:
        async for change in db.execution.executions.follow(rows[0].id):
            steady.append(change.row.id)  # noqa: PERF401 (there is no end)

    steadily = asyncio.create_task(watch_steadily())
    cursor: str | None = None
    while True:
        finished = all(event.is_set() for event in over)
        changes = db.execution.executions.follow(rows[0].id, after=cursor)
        try:
            async with asyncio.timeout(1.0 if finished else chance.uniform(0.01, 0.2)):
                async for change in changes:
                    seen.append(change.row)
                    cursor = json.loads(json.dumps(change.cursor))
        except TimeoutError:
            pass
        await changes.aclose()
        if finished:
            break
    await asyncio.gather(*lives)
    stored: list[ExecutionChange] = await db._shortcut.fetch_all(
        Plan[ExecutionChange](ExecutionChange.__table__.select(), name="test", rows=ExecutionChange), {}
    )
    wanted = sorted(row.id for row in stored if row.execution_id == rows[0].id)
    async with asyncio.timeout(20):
        while len(steady) < len(wanted):  # noqa: ASYNC110 (a follower has no end to wait for)
            await asyncio.sleep(0.05)
    steadily.cancel()
    await asyncio.wait([steadily])

    assert [row.id for row in seen] == wanted == steady
    own = [str(row.status) for row in seen if row.node_id is None]
    follows = {
        "pending": {"running", "cancelled"},
        "running": {"pending", "failed", "cancelled", "completed"},
        "failed": {"pending"},
    }
    assert own[0] == "pending"
    assert all(after in follows[before] for before, after in pairwise(own))
    attempts = [row.attempt for row in seen]
    assert attempts == sorted(attempts)
    begun = Counter((row.node_id, row.attempt) for row in seen if row.node_id and row.status == "running")
    assert set(begun.values()) <= {1}
