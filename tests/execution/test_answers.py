"""What handlers have finished is told with the claiming of what comes next, and nothing is lost on that way."""

from __future__ import annotations

import asyncio
from typing import Any

from agentdb.database import Database
from agentdb.execution.models import ExecutionStatus
from agentdb.execution.records import Claim
from tests.execution.queues import enqueue
from tests.execution.test_working import running, until


async def test_one_statement_completes_an_execution_and_claims_the_next(db: Database) -> None:
    await enqueue(db, 4)

    async def handler(claim: Claim) -> int:
        await asyncio.sleep(0)
        return claim.id

    async with running(db.execution.executions.run(handler, concurrency=1)):
        await until(db, 4, status="completed")

    rows = (await db.execution.executions.page()).items
    assert [row.completed_at for row in rows[:-1]] == [row.started_at for row in rows[1:]]
    assert [row.output for row in rows] == [row.id for row in rows]


async def test_an_output_that_is_no_json_fails_alone(db: Database) -> None:
    await enqueue(db, 9)

    async def handler(claim: Claim) -> Any:
        return object() if claim.execution.input == 4 else claim.id

    async with running(db.execution.executions.run(handler, concurrency=3)):
        await until(db, 8, status="completed")
        await until(db, 1, status="failed")

    rows = (await db.execution.executions.page()).items
    assert [row.status for row in rows].index(ExecutionStatus.failed) == 4
    assert {row.attempt for row in rows} == {1}


async def test_one_that_was_taken_away_is_not_finished_and_the_others_are(db: Database) -> None:
    await enqueue(db, 6)
    executions = db.execution.executions
    first: list[Claim] = []

    async def handler(claim: Claim) -> str:
        if not first:
            first.append(claim)
            await executions.release(Claim(claim.id, claim.attempt, claim.execution))  # as another process would
        return "done"

    async with running(executions.run(handler, concurrency=3)):
        await until(db, 6, status="completed")

    rows = {row.id: row for row in (await executions.page()).items}
    assert rows.pop(first[0].id).attempt == 2  # the answer of the first was not taken
    assert {row.attempt for row in rows.values()} == {1}


async def test_who_is_cancelled_still_tells_what_was_finished(db: Database) -> None:
    await enqueue(db, 40)
    finished: list[int] = []
    enough = asyncio.Event()

    async def handler(claim: Claim) -> str:
        finished.append(claim.id)
        if len(finished) == 10:
            enough.set()
        return "done"

    crew = asyncio.create_task(db.execution.executions.run(handler, concurrency=4))
    await enough.wait()
    crew.cancel()
    await asyncio.wait([crew])

    rows = (await db.execution.executions.page()).items
    assert {row.id for row in rows if row.status == "completed"} == set(finished)
    assert {row.status for row in rows if row.id not in finished} == {ExecutionStatus.pending}
