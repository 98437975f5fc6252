"""What is done to executions from without: cancelled, tried again, taken from silent workers, removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound
from agentdb.execution.models import ExecutionStatus
from agentdb.execution.records import Rescued
from tests.execution.queues import claim_one, enqueue

LATER = datetime(2126, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def test_what_waits_is_cancelled_at_once_and_what_runs_by_its_worker(db: Database) -> None:
    (row,) = await enqueue(db)

    assert await db.execution.executions.cancel(row.id) is ExecutionStatus.cancelled

    assert await db.execution.executions.claim("worker") == []
    assert (await db.execution.executions.get(row.id)).completed_at is not None
    with pytest.raises(InvalidTransition, match="is cancelled"):
        await db.execution.executions.cancel(row.id)
    with pytest.raises(NotFound):
        await db.execution.executions.cancel(row.id + 1)

    await enqueue(db)
    executions = db.execution.executions
    claim = await claim_one(executions)
    with pytest.raises(InvalidTransition, match="nobody asked"):
        await executions.stop(claim)
    assert await executions.cancel(claim.id) is ExecutionStatus.running

    await executions.stop(claim)

    assert (await executions.get(claim.id)).status is ExecutionStatus.cancelled
    with pytest.raises(InvalidTransition):
        await executions.stop(claim)


async def test_whoever_gives_up_what_is_to_be_cancelled_cancels_it(db: Database) -> None:
    await enqueue(db, 4)
    executions = db.execution.executions
    with clock.hold(LATER) as hand:
        failed, released, silent, done = await executions.claim("worker", n=4)
        for claim in (failed, released, silent, done):
            await executions.cancel(claim.id)

        assert await executions.fail(failed, "stopped") is ExecutionStatus.cancelled
        assert await executions.release(released) is ExecutionStatus.cancelled
        await executions.complete(done)
        hand.forward(2 * MINUTE)
        assert await executions.rescue() == [Rescued(silent.id, 1, ExecutionStatus.cancelled)]

    assert (await executions.get(done.id)).status is ExecutionStatus.completed
    rows = [await executions.get(claim.id) for claim in (failed, released, silent)]
    assert all(row.completed_at is not None for row in rows)


async def test_a_silent_worker_loses_what_it_holds_until_attempts_are_used_up(db: Database) -> None:
    await enqueue(db, 2, max_attempts=2)
    executions = db.execution.executions
    with clock.hold(LATER) as hand:
        first, second = await executions.claim("worker", n=2, lease_seconds=60)
        hand.forward(MINUTE / 2)
        await executions.heartbeat([second])
        assert await executions.rescue() == []
        hand.forward(MINUTE / 2)
        assert await executions.rescue() == [Rescued(first.id, 1, ExecutionStatus.pending)]
        again = await claim_one(executions)
        hand.forward(MINUTE)
        rescued = await executions.rescue()

    assert (again.id, again.attempt) == (first.id, 2)
    assert sorted(rescued, key=lambda row: row.id) == [
        Rescued(first.id, 2, ExecutionStatus.failed),
        Rescued(second.id, 1, ExecutionStatus.pending),
    ]
    (dead,) = (await executions.dead_letters()).items
    assert dead.error is not None
    assert "lease" in dead.error


async def test_rescue_takes_those_that_ended_first_and_no_more_than_asked(db: Database) -> None:
    await enqueue(db, 3)
    executions = db.execution.executions
    with clock.hold(LATER) as hand:
        late, early, middle = [await claim_one(executions, lease_seconds=seconds) for seconds in (30, 10, 20)]
        hand.forward(MINUTE)

        assert {row.id for row in await executions.rescue(2)} == {early.id, middle.id}
        assert [row.id for row in await executions.rescue(2)] == [late.id]


async def test_a_dead_letter_is_tried_again(db: Database) -> None:
    await enqueue(db, max_attempts=1)
    executions = db.execution.executions
    claim = await claim_one(executions)
    with pytest.raises(InvalidTransition, match="is running"):
        await executions.retry(claim.id)
    await executions.fail(claim, "no")

    row = await executions.retry(claim.id, attempts=2)

    assert (row.status, row.error, row.completed_at) == (ExecutionStatus.pending, None, None)
    again = await claim_one(executions)
    assert await executions.fail(again, "no", dice=lambda: 0.0) is ExecutionStatus.pending
    assert await executions.fail(await claim_one(executions), "no") is ExecutionStatus.failed
    with pytest.raises(NotFound):
        await executions.retry(claim.id + 1)


async def test_dead_letters_are_listed_by_queue_newest_first(db: Database) -> None:
    executions = db.execution.executions
    await enqueue(db, 5)
    await enqueue(db, 2, queue="other")
    for queue, n in (("default", 5), ("other", 1)):
        for claim in await executions.claim("worker", queue=queue, n=n):
            await executions.fail(claim, "no", retry=False)

    page = await executions.dead_letters(limit=3)
    rest = await executions.dead_letters(limit=3, after=page.next)

    ids = [row.id for row in [*page.items, *rest.items]]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest.next) == (5, None)
    assert len((await executions.dead_letters("other")).items) == 1
    with pytest.raises(BadInput):
        await executions.dead_letters("other", after=page.next)


async def test_pruning_removes_what_was_finished_before_in_bounded_batches(db: Database) -> None:
    executions = db.execution.executions
    await enqueue(db, 7)
    with clock.hold(LATER) as hand:
        claims = await executions.claim("worker", n=6)
        for claim in claims[:4]:
            await executions.complete(claim)
        hand.forward(MINUTE)
        await executions.complete(claims[4])

        removed = [await executions.prune(LATER + MINUTE, limit=3) for _ in range(3)]

    assert removed == [3, 1, 0]
    assert await executions.count() == 3  # finished later, running, waiting
