"""Users take turns, and a queue runs no more than it may."""

from __future__ import annotations

import asyncio

from agentdb.database import Database
from tests.execution.queues import claim_one, enqueue, make_workflow


async def test_users_take_turns_whoever_was_first(db: Database) -> None:
    flood, other, third = [await make_workflow(db) for _ in range(3)]
    await enqueue(db, 50, workflow=flood)
    await enqueue(db, 3, workflow=other)
    await enqueue(db, 1, workflow=third, priority=-1)
    executions = db.execution.executions

    users = [(await claim_one(executions, fair=True)).execution.user_id for _ in range(8)]

    a, b, c = flood.user_id, other.user_id, third.user_id
    assert users == [a, b, c, a, b, a, b, a]


async def test_a_batch_is_shared_evenly(db: Database) -> None:
    flood, other = await make_workflow(db), await make_workflow(db)
    await enqueue(db, 50, workflow=flood)
    await enqueue(db, 3, workflow=other, priority=1)
    await enqueue(db, 5, workflow=other, delay_seconds=3600)

    claims = await db.execution.executions.claim("worker", n=10, fair=True)

    counts = [sum(claim.execution.user_id == user for claim in claims) for user in (flood.user_id, other.user_id)]
    assert counts == [7, 3]
    of_flood = [claim.id for claim in claims if claim.execution.user_id == flood.user_id]
    assert of_flood == sorted(of_flood)


async def test_the_turn_of_who_has_nothing_left_goes_to_the_next(db: Database) -> None:
    few, many = await make_workflow(db), await make_workflow(db)
    await enqueue(db, 1, workflow=few)
    await enqueue(db, 2, workflow=many)

    claims = await db.execution.executions.claim("worker", n=3, fair=True)

    assert [claim.execution.user_id for claim in claims] == [few.user_id, many.user_id, many.user_id]


async def test_workers_that_claim_in_turns_at_once_take_each_once(db: Database) -> None:
    workflows = [await make_workflow(db) for _ in range(4)]
    for workflow in workflows:
        await enqueue(db, 10, workflow=workflow)

    taken = await asyncio.gather(*(db.execution.executions.claim(f"w{n}", n=2, fair=True) for n in range(18)))

    claims = [claim for some in taken for claim in some]
    assert len({claim.id for claim in claims}) == len(claims) == 36
    counts = [sum(claim.execution.user_id == workflow.user_id for claim in claims) for workflow in workflows]
    assert counts == [9, 9, 9, 9]


async def test_a_queue_never_runs_more_than_it_may(db: Database) -> None:
    await enqueue(db, 60)
    await enqueue(db, 5, queue="other")
    executions = db.execution.executions
    await executions.claim("worker", queue="other", n=5)

    taken = await asyncio.gather(*(executions.claim(f"w{n}", n=2, most_running=7) for n in range(40)))

    claims = [claim for some in taken for claim in some]
    assert len(claims) == 7
    assert await executions.claim("worker", most_running=7) == []
    await executions.complete(claims[0])
    assert len(await executions.claim("worker", n=5, most_running=7)) == 1
    assert len(await executions.claim("worker", n=5, fair=True, most_running=9)) == 2
