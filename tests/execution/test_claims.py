"""Executions are claimed by one worker each, and finished by the one that holds them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound, StaleVersion
from agentdb.execution.models import ExecutionStatus
from agentdb.execution.records import Backoff, Claim
from tests.execution.queues import Rows, claim_one, enqueue, make_workflow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def test_a_claimed_execution_is_not_claimed_again(db: Database) -> None:
    (row,) = await enqueue(db)

    with clock.hold(db.now()) as hand:
        claim = await claim_one(db.execution.executions, lease_seconds=30)
        hand.forward(timedelta(days=1))  # its lease has ended, but nobody has rescued it

        assert (claim.id, claim.attempt) == (row.id, 1)
        assert await db.execution.executions.claim("other") == []
        found = await db.execution.executions.get(row.id)
    assert (found.status, found.claimed_by, found.attempt) == (ExecutionStatus.running, "worker", 1)
    assert found.lease_expires_at is not None
    assert found.started_at is not None
    assert found.lease_expires_at - found.started_at == timedelta(seconds=30)


async def test_the_most_urgent_is_claimed_first_and_then_the_oldest(db: Database) -> None:
    with clock.hold(NOON) as hand:
        workflow = await make_workflow(db)
        rows = {}
        for name, priority, delay in (("b", 0, 1), ("a", 0, 0), ("d", -1, 0), ("urgent", 5, 2), ("c", 0, 1)):
            (rows[name],) = await enqueue(db, workflow=workflow, priority=priority, delay_seconds=delay)
        await enqueue(db, workflow=workflow, priority=9, delay_seconds=60)
        await enqueue(db, workflow=workflow, priority=9, queue="other")
        hand.forward(MINUTE / 2)

        claims = await db.execution.executions.claim("worker", n=3)
        claims += await db.execution.executions.claim("worker", n=10)

    assert [claim.id for claim in claims] == [rows[name].id for name in ("urgent", "a", "b", "c", "d")]


async def test_two_hundred_claims_at_once_take_each_execution_once(db: Database) -> None:
    rows = await enqueue(db, 300)

    taken = await asyncio.gather(*(db.execution.executions.claim(f"w{n}", n=1 + n % 2) for n in range(200)))

    ids = [claim.id for claims in taken for claim in claims]
    assert sorted(ids) == [row.id for row in rows]
    assert await db.execution.executions.count(status="running", attempt=1) == 300


async def test_a_completed_execution_keeps_its_output(db: Database) -> None:
    await enqueue(db)
    claim = await claim_one(db.execution.executions)

    await db.execution.executions.complete(claim, {"answer": 42})

    found = await db.execution.executions.get(claim.id)
    assert (found.status, found.output, found.lease_expires_at) == (ExecutionStatus.completed, {"answer": 42}, None)
    assert found.completed_at is not None
    with pytest.raises(InvalidTransition, match="completed already"):
        await db.execution.executions.complete(claim)
    with pytest.raises(InvalidTransition):
        await db.execution.executions.fail(claim, "too late")
    with pytest.raises(InvalidTransition):
        await db.execution.executions.release(claim)


async def test_of_many_who_complete_the_same_claim_one_does(db: Database) -> None:
    await enqueue(db, 20)
    claims = await db.execution.executions.claim("worker", n=20)

    answers = await asyncio.gather(
        *(db.execution.executions.complete(claim, n) for n in range(3) for claim in claims), return_exceptions=True
    )

    assert len([answer for answer in answers if answer is None]) == 20
    assert all(isinstance(answer, InvalidTransition) for answer in answers if answer is not None)


async def test_a_claim_that_another_took_over_is_refused_everywhere(db: Database) -> None:
    await enqueue(db)
    executions = db.execution.executions
    with clock.hold(NOON + timedelta(days=9999)) as hand:
        stale = await claim_one(executions)
        hand.forward(2 * MINUTE)
        await executions.rescue()
        with pytest.raises(StaleVersion, match="ended"):  # nobody has taken it yet
            await executions.complete(stale, "stale")
        fresh = await claim_one(executions)

        for refused in (
            executions.complete(stale, "stale"),
            executions.fail(stale, "stale"),
            executions.release(stale),
            executions.stop(stale),
        ):
            with pytest.raises(StaleVersion, match="attempt 2"):
                await refused
        beat = await executions.heartbeat([stale, fresh])
        await executions.complete(fresh, "fresh")

    assert (beat.held, beat.lost) == ([fresh], [stale])
    assert (await executions.get(stale.id)).output == "fresh"


async def test_an_execution_that_is_gone_is_not_found(db: Database) -> None:
    await enqueue(db)
    claim = await claim_one(db.execution.executions)
    await Rows(db._shortcut).remove(claim.id)

    with pytest.raises(NotFound):
        await db.execution.executions.complete(claim)
    assert (await db.execution.executions.heartbeat([claim])).lost == [claim]


async def test_a_heartbeat_extends_leases_and_tells_who_wants_to_cancel(db: Database) -> None:
    await enqueue(db, 3)
    executions = db.execution.executions
    with clock.hold(NOON + timedelta(days=9999)) as hand:
        kept, wanted, finished = await executions.claim("worker", n=3, lease_seconds=60)
        await executions.complete(finished)
        assert await executions.cancel(wanted.id) is ExecutionStatus.running
        hand.forward(MINUTE / 2)

        beat = await executions.heartbeat([kept, wanted, finished], lease_seconds=60)
        hand.forward(MINUTE * 3 / 4)

        assert (beat.held, beat.lost, beat.cancelling) == ([kept, wanted], [finished], [wanted])
        assert await executions.rescue() == []


async def test_a_failure_rests_ever_longer_and_then_is_a_dead_letter(db: Database) -> None:
    await enqueue(db, max_attempts=3)
    executions, backoff = db.execution.executions, Backoff(first_seconds=10, longest_seconds=15)
    rests = []
    with clock.hold(NOON + timedelta(days=9999)) as hand:
        for dice in (0.5, 1.0):
            claim = await claim_one(executions)
            assert await executions.fail(claim, "no", backoff=backoff, dice=partial(float, dice)) == "pending"
            rest = (await executions.get(claim.id)).available_at - db.now()
            rests.append(rest.total_seconds())
            assert await executions.claim("worker") == []
            hand.forward(rest)
        last = await claim_one(executions)
        status = await executions.fail(last, "no more", backoff=backoff)

    assert rests == [5.0, 15.0]
    assert status is ExecutionStatus.failed
    (dead,) = (await executions.dead_letters()).items
    assert (dead.id, dead.error, dead.attempt, dead.lease_expires_at) == (last.id, "no more", 3, None)
    assert dead.completed_at is not None


def test_a_pause_doubles_up_to_its_bound_and_is_anything_below() -> None:
    backoff = Backoff(first_seconds=1, longest_seconds=100)

    assert [backoff.seconds(attempt, lambda: 1.0) for attempt in (1, 2, 3, 7, 8, 5000)] == [1, 2, 4, 64, 100, 100]
    assert len({backoff.seconds(7) for _ in range(50)}) > 40
    assert all(0 <= backoff.seconds(7) <= 64 for _ in range(50))


async def test_what_is_not_to_be_tried_again_fails_at_once(db: Database) -> None:
    await enqueue(db)
    claim = await claim_one(db.execution.executions)

    assert await db.execution.executions.fail(claim, "wrong input", retry=False) is ExecutionStatus.failed


async def test_a_released_execution_has_used_up_no_attempt(db: Database) -> None:
    await enqueue(db, 2, max_attempts=2)
    executions = db.execution.executions
    first, second = await executions.claim("worker", n=2)

    assert await executions.release(first) is ExecutionStatus.pending
    assert await executions.release_many([first, second]) == 1
    again = await executions.claim("worker", n=2)

    assert [(claim.id, claim.attempt) for claim in again] == [(first.id, 2), (second.id, 2)]
    with pytest.raises(StaleVersion):
        await executions.complete(first)
    assert await executions.fail(again[0], "one is used up", dice=lambda: 0.0) is ExecutionStatus.pending
    last = await claim_one(executions)
    assert (last.id, last.attempt) == (first.id, 3)
    assert await executions.fail(last, "now both are") is ExecutionStatus.failed


async def test_a_row_that_refers_to_an_execution_holds_up_nobody(db: Database) -> None:
    """A unit that stores a child locks its parent's key, and may take its time."""
    workflow = await make_workflow(db)
    parent, other = await enqueue(db, 2, workflow=workflow)
    claims = await db.execution.executions.claim("worker", n=2)
    given, finished = asyncio.Event(), asyncio.Event()

    async def refer() -> None:
        async with db.write() as unit:
            await unit.execution.executions.enqueue(
                workflow.id, workflow.user_id, parent_execution_id=parent.id, queue="children"
            )
            given.set()
            if unit.execution.executions.connection.chains:  # else there is one writer
                await asyncio.wait_for(finished.wait(), 10)

    referring = asyncio.create_task(refer())
    await given.wait()
    assert len((await db.execution.executions.heartbeat(claims)).held) == 2
    turn = await db.execution.executions.complete_and_claim([(claim, None) for claim in claims], "worker")
    finished.set()
    await referring

    assert not turn.lost
    assert await db.execution.executions.count(status="completed", id__in=[parent.id, other.id]) == 2


async def test_finishing_and_claiming_are_one_step(db: Database) -> None:
    rows = await enqueue(db, 6)
    executions = db.execution.executions
    held = await executions.claim("worker", n=3)
    await executions.complete(held[2], "by itself")

    turn = await executions.complete_and_claim([(claim, claim.id) for claim in held], "worker", n=2)

    assert [claim.id for claim in turn.claims] == [row.id for row in rows[3:5]]
    assert [claim.execution.input for claim in turn.claims] == [3, 4]
    assert turn.lost == [held[2]]
    assert [(await executions.get(row.id)).output for row in rows[:3]] == [rows[0].id, rows[1].id, "by itself"]
    assert (await executions.complete_and_claim([], "worker", n=9)).claims[0].id == rows[5].id


async def test_workers_that_finish_and_claim_at_once_do_each_once(db: Database) -> None:
    rows = await enqueue(db, 80)
    done: list[int] = []

    async def work(name: str) -> None:
        finished: list[tuple[Claim, object]] = []
        while True:
            turn = await db.execution.executions.complete_and_claim(finished, name, n=3)
            assert not turn.lost
            done.extend(claim.id for claim, _ in finished)
            finished = [(claim, name) for claim in turn.claims]
            if not finished:
                return

    await asyncio.gather(*(work(f"w{n}") for n in range(8)))

    assert sorted(done) == [row.id for row in rows]
    assert await db.execution.executions.count(status="completed", attempt=1) == 80


async def test_a_claim_of_nothing_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    wrongs: tuple[dict[str, Any], ...] = ({"n": 0}, {"lease_seconds": 0}, {"lease_seconds": float("inf")})
    for wrong in wrongs:
        with subtests.test(**wrong), pytest.raises(BadInput):
            await agentdb.execution.executions.claim("worker", **wrong)


async def test_a_claim_within_a_unit_is_undone_with_it(db: Database) -> None:
    await enqueue(db)

    with suppress(ZeroDivisionError):
        async with db.write() as unit:
            assert await unit.execution.executions.claim("worker")
            raise ZeroDivisionError

    assert (await claim_one(db.execution.executions)).attempt == 1
