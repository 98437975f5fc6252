"""Workers take what comes, keep what they hold, and leave nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, Unavailable
from agentdb.execution.models import ExecutionStatus
from agentdb.execution.records import Backoff, Claim
from tests.execution.queues import Rows, claim_one, enqueue, make_workflow


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker while the block lasts; no task is left when it ends."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Unavailable):
            await task
        left = {other for other in asyncio.all_tasks() - before if "execution" in repr(other.get_coro())}
        assert not left


async def until(db: Database, n: int, **criteria: Any) -> None:
    """Wait until so many executions meet the criteria."""
    async with asyncio.timeout(60):
        while await db.execution.executions.count(**criteria) != n:  # noqa: ASYNC110 (the database tells no event)
            await asyncio.sleep(0.03)


async def test_a_handler_works_on_several_at_once_and_its_answers_are_stored(db: Database) -> None:
    await enqueue(db, 20)
    at_once = most = 0

    async def handler(claim: Claim) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return {"twice": 2 * (claim.execution.input or 0)}

    async with running(db.execution.executions.run(handler, concurrency=3)):
        await until(db, 20, status="completed")

    assert most == 3
    rows = (await db.execution.executions.page()).items
    assert [row.output for row in rows] == [{"twice": 2 * n} for n in range(20)]
    assert {row.attempt for row in rows} == {1}


async def test_a_worker_that_rests_is_woken_by_a_commit(db: Database) -> None:
    workflow = await make_workflow(db)
    taken: list[float] = []

    async def handler(_claim: Claim) -> None:
        taken.append(time.monotonic())

    async with running(db.execution.executions.run(handler)):
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await enqueue(db, workflow=workflow)
        await until(db, 1, status="completed")

    assert taken[0] - began < 2  # its slow poll is far behind


async def test_a_worker_wakes_for_what_becomes_available(db: Database) -> None:
    await enqueue(db, delay_seconds=0.4)

    async with running(db.execution.executions.run(_nothing)):
        await until(db, 1, status="completed")

    row = (await db.execution.executions.page()).items[0]
    assert row.started_at is not None
    assert 0 <= (row.started_at - row.available_at).total_seconds() < 2


async def _nothing(_claim: Claim) -> None:
    pass


@pytest.mark.long
async def test_an_idle_worker_hardly_asks(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    shortcut = db.execution.executions.connection

    def counting(call: Any) -> Any:
        def counted(*given: Any) -> Any:
            nonlocal asked
            asked += 1
            return call(*given)

        return counted

    for name in ("fetch_all", "fetch_one", "execute", "run"):
        monkeypatch.setattr(shortcut, name, counting(getattr(shortcut, name)))

    async with running(db.execution.executions.run(_nothing)):
        await asyncio.sleep(1.5)

    assert asked == 1  # when to look again: 20 seconds later


async def test_what_a_handler_raises_fails_the_attempt_and_what_is_no_json_fails_for_good(db: Database) -> None:
    await enqueue(db, max_attempts=1)
    await enqueue(db, priority=-1)

    async def handler(claim: Claim) -> Any:
        if claim.execution.max_attempts == 1:
            raise ValueError("bad\0 \ud800 input")
        return object()

    async with running(db.execution.executions.run(handler)):
        await until(db, 2, status="failed")

    no_json, raised = (await db.execution.executions.dead_letters()).items
    assert raised.error == "ValueError: bad ? input"
    assert (no_json.max_attempts, no_json.attempt) == (3, 1)


async def test_a_failed_attempt_rests_as_the_worker_says(db: Database) -> None:
    await enqueue(db)

    async def handler(claim: Claim) -> None:
        if claim.attempt < 3:
            raise ValueError

    async with running(db.execution.executions.run(handler, backoff=Backoff(0.01, 0.02))):
        await until(db, 1, status="completed")

    assert (await db.execution.executions.page()).items[0].attempt == 3


async def test_a_handler_may_end_its_claim_by_itself(db: Database) -> None:
    await enqueue(db, 2)

    async def handler(claim: Claim) -> None:
        async with db.write() as unit:
            await unit.execution.executions.complete(claim, "own")

    async with running(db.execution.executions.run(handler, concurrency=1)):
        await until(db, 2, status="completed")

    assert {row.output for row in (await db.execution.executions.page()).items} == {"own"}


@pytest.mark.long
async def test_a_long_handler_keeps_its_lease(db: Database) -> None:
    await enqueue(db)

    async def handler(_claim: Claim) -> str:
        await asyncio.sleep(3)
        return "done"

    async with (
        running(db.execution.executions.run(handler, lease_seconds=1.5)),
        running(db.execution.executions.run(handler, lease_seconds=1.5)),
    ):
        await until(db, 1, status="completed")

    assert (await db.execution.executions.page()).items[0].attempt == 1


async def test_a_handler_is_cancelled_when_somebody_wants_that(db: Database) -> None:
    (row,) = await enqueue(db)
    begun = asyncio.Event()

    async def handler(_claim: Claim) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with running(db.execution.executions.run(handler, lease_seconds=0.3)):
        await begun.wait()
        await db.execution.executions.cancel(row.id)
        await until(db, 1, status="cancelled")


async def test_a_handler_is_cancelled_when_its_claim_is_lost(db: Database) -> None:
    await enqueue(db)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(claim: Claim) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            assert claim.stopping
            ended.set()

    async with running(db.execution.executions.run(handler, lease_seconds=0.3)):
        await begun.wait()
        row = (await db.execution.executions.page()).items[0]
        await Rows(db._shortcut).update(row.id, attempt=7, claimed_by="another")
        async with asyncio.timeout(10):
            await ended.wait()

    assert (await db.execution.executions.get(row.id)).claimed_by == "another"


async def test_a_worker_takes_over_from_a_silent_one(db: Database) -> None:
    await enqueue(db)
    silent = await claim_one(db.execution.executions, lease_seconds=0.5)

    async with running(db.execution.executions.run(_nothing)):
        await until(db, 1, status="completed")

    assert (await db.execution.executions.get(silent.id)).attempt == 2


async def test_a_worker_that_ends_lets_handlers_finish(db: Database) -> None:
    await enqueue(db, 4)
    begun = asyncio.Event()

    async def handler(_claim: Claim) -> None:
        begun.set()
        await asyncio.sleep(0.3)

    async with running(db.execution.executions.run(handler, concurrency=2)):
        await begun.wait()

    assert await db.execution.executions.count(status="completed") == 2
    assert await db.execution.executions.count(status="pending", attempt=0) == 2


async def test_a_worker_that_may_not_wait_gives_back_what_it_holds(db: Database) -> None:
    await enqueue(db, 3, max_attempts=1)
    begun = asyncio.Event()

    async def handler(_claim: Claim) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with running(db.execution.executions.run(handler, concurrency=2, drain_seconds=0.05)):
        await begun.wait()

    assert await db.execution.executions.count(status="pending") == 3
    async with running(db.execution.executions.run(_nothing)):
        await until(db, 3, status="completed")


async def test_claims_are_yielded_one_after_another(db: Database) -> None:
    await enqueue(db, 5)
    seen = []

    async with aclosing(db.execution.executions.work(concurrency=2)) as claims:
        async for claim in claims:
            seen.append(claim.execution.input)
            if len(seen) == 4:
                break
            await db.execution.executions.complete(claim)

    assert seen == [0, 1, 2, 3]
    assert await db.execution.executions.count(status="completed") == 3
    assert await db.execution.executions.count(status="pending") == 2
    assert await db.execution.executions.count(status="running") == 0


async def test_an_iterator_holds_no_more_than_it_may(db: Database) -> None:
    await enqueue(db, 5)
    async with aclosing(db.execution.executions.work(concurrency=2)) as claims:
        first, _second = await anext(claims), await anext(claims)
        third = asyncio.ensure_future(anext(claims))
        await asyncio.sleep(0.2)
        assert not third.done()

        await db.execution.executions.complete(first)

        assert (await third).execution.input == 2


async def test_many_workers_share_without_doing_anything_twice(db: Database) -> None:
    rows = await enqueue(db, 60)
    effects: list[int] = []

    async def handler(claim: Claim) -> None:
        effects.append(claim.id)

    async with (
        running(db.execution.executions.run(handler)),
        running(db.execution.executions.run(handler)),
        running(db.execution.executions.run(handler)),
    ):
        await until(db, 60, status="completed")

    assert sorted(effects) == [row.id for row in rows]


async def test_a_worker_outlives_a_database_that_is_away(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = await make_workflow(db)
    shortcut = db.execution.executions.connection
    there, answers = False, shortcut.fetch_all

    async def sometimes(*given: Any) -> Any:
        if not there:
            raise Unavailable("away")
        return await answers(*given)

    monkeypatch.setattr(shortcut, "fetch_all", sometimes)
    await db.execution.executions.enqueue(workflow.id, workflow.user_id)

    async with running(db.execution.executions.run(_nothing)) as task:
        await asyncio.sleep(0.3)
        assert not task.done()
        there = True
        await until(db, 1, status="completed")


async def test_a_worker_ends_with_its_database(db: Database) -> None:
    task = asyncio.create_task(db.execution.executions.run(_nothing))
    await asyncio.sleep(0.1)

    await db.close()

    with pytest.raises(Unavailable, match="closed"):
        await asyncio.wait_for(task, 10)
    await db.open()


async def test_a_worker_does_not_work_within_a_unit(db: Database) -> None:
    async with db.write() as unit:
        with pytest.raises(BadInput, match="unit"):
            await unit.execution.executions.run(_nothing)
        with pytest.raises(BadInput, match="unit"):
            await anext(unit.execution.executions.work())


async def test_what_waits_twice_is_cancelled_once_more_by_an_impatient_owner(db: Database) -> None:
    await enqueue(db)
    begun = asyncio.Event()

    async def handler(_claim: Claim) -> None:
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(db.execution.executions.run(handler))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)

    assert (await db.execution.executions.page()).items[0].status is ExecutionStatus.pending
