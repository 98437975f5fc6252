"""What a worker holds is kept while somebody works on it, and is let go of in the end, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest

import agentdb
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.errors import ReadOnly, Unavailable
from agentdb.execution.records import Claim
from tests.execution.queues import enqueue, make_workflow
from tests.execution.test_working import running, until


async def test_who_is_to_be_cancelled_while_it_says_how_it_went_still_says_so(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    completes, fails = await enqueue(db, 2)
    executions, connection = db.execution.executions, db.execution.executions.connection
    tried = {"executions.complete": asyncio.Event(), "executions.fail": asyncio.Event()}
    away, fetch_one = True, connection.fetch_one

    async def sometimes(asked: Plan[Any], *given: Any) -> Any:
        if away and asked.name in tried:
            tried[asked.name].set()
            raise Unavailable("away")
        return await fetch_one(asked, *given)

    async def handler(claim: Claim) -> str:
        await asyncio.sleep(0.1)  # the worker rests by now, and the answer is a statement of its own
        if claim.id == fails.id:
            raise ValueError("no")
        return "done"

    monkeypatch.setattr(connection, "fetch_one", sometimes)
    async with running(executions.run(handler, concurrency=3, lease_seconds=0.3)):
        await asyncio.gather(*(event.wait() for event in tried.values()))
        for row in (completes, fails):
            await executions.cancel(row.id)
        await asyncio.sleep(0.5)  # some heartbeats, which tell that
        away = False
        await until(db, 0, status="running")

    for row, status in ((completes, "completed"), (fails, "cancelled")):
        found = await executions.get(row.id)
        assert (found.status, found.attempt) == (status, 1)


async def test_a_handler_that_has_its_execution_locked_does_not_take_the_leases_of_others(
    agentdb_postgresql: Database,
) -> None:
    """On the other database nobody else could take them meanwhile."""
    db = agentdb_postgresql
    await enqueue(db, 2)
    locked = asyncio.Event()

    async def handler(claim: Claim) -> None:
        if claim.attempt > 1:
            raise AssertionError
        if claim.execution.input == 0:
            async with db.write() as unit:
                await unit.execution.node_logs.start(claim, "n")
                locked.set()
                await asyncio.sleep(1.5)
        else:
            await locked.wait()
            await asyncio.sleep(1.5)

    async with running(db.execution.executions.run(handler, lease_seconds=0.6)):
        await locked.wait()
        async with running(db.execution.executions.run(handler, lease_seconds=0.6)):
            await until(db, 2, status="completed")

    assert await db.execution.executions.count(attempt=1) == 2


async def test_leases_are_kept_while_units_have_all_connections(migrated_postgresql_url: str) -> None:
    """The other database has one connection that writes, for everybody."""
    async with (
        agentdb.connect(migrated_postgresql_url, pool_size=2) as db,
        agentdb.connect(migrated_postgresql_url) as other,
    ):
        await enqueue(db, 3)
        busy = asyncio.Barrier(4)

        async def handler(claim: Claim) -> None:
            if claim.attempt > 1:
                raise AssertionError
            if claim.execution.input == 2:
                await busy.wait()
                await asyncio.sleep(1.5)
                return
            async with db.write() as unit:
                await unit.supervisor.users.count()
                await busy.wait()
                await asyncio.sleep(1.5)

        async with running(db.execution.executions.run(handler, lease_seconds=0.6)):
            await busy.wait()
            async with running(other.execution.executions.run(handler, lease_seconds=0.6)):
                await until(other, 3, status="completed")

        assert await db.execution.executions.count(attempt=1) == 3


async def test_what_is_claimed_at_the_end_is_given_back_before_handlers_have_finished(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await make_workflow(db)
    first, *_ = await enqueue(db, 1, workflow)
    executions, connection = db.execution.executions, db.execution.executions.connection
    begun, claimed, go_on, fetch_all = asyncio.Event(), asyncio.Event(), asyncio.Event(), connection.fetch_all

    async def slowly(asked: Plan[Any], *given: Any) -> Any:
        rows = await fetch_all(asked, *given)
        if begun.is_set() and asked.name.startswith("executions.claim"):
            claimed.set()
            await go_on.wait()
        return rows

    async def handler(_claim: Claim) -> None:
        begun.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(connection, "fetch_all", slowly)
    crew = asyncio.create_task(executions.run(handler, concurrency=3))
    await begun.wait()
    await enqueue(db, 2, workflow)
    await claimed.wait()
    crew.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await until(db, 2, status="pending")

    assert (await executions.get(first.id)).status == "running"
    crew.cancel()
    await asyncio.wait([crew])
    assert await executions.count(status="pending") == 3


async def test_what_cannot_be_told_is_left_to_the_next_attempt(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (row,) = await enqueue(db)
    connection = db.execution.executions.connection
    refused, fetch_one = [ReadOnly("a disk that may not be written to")], connection.fetch_one

    async def at_first(asked: Plan[Any], *given: Any) -> Any:
        if asked.name == "executions.complete" and refused:
            raise refused.pop()
        return await fetch_one(asked, *given)

    async def handler(_claim: Claim) -> None:
        await asyncio.sleep(0.05)  # the worker rests by now, and the answer is a statement of its own

    monkeypatch.setattr(connection, "fetch_one", at_first)
    async with running(db.execution.executions.run(handler, concurrency=2, lease_seconds=0.3)):
        await until(db, 1, status="completed")

    assert (await db.execution.executions.get(row.id)).attempt == 2
    assert "a disk that may not be written to" in caplog.text


_ENDED = """
import asyncio, signal, sys
import agentdb

async def main(url):
    async with agentdb.connect(url, migrate="never") as db:
        async def handler(claim):
            print("begun", flush=True)
            await asyncio.sleep(1)
            return "done"
        worker = asyncio.create_task(db.execution.executions.run(handler, concurrency=1))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.cancel)
        await asyncio.wait([worker])

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.long
async def test_a_process_that_is_told_to_end_finishes_what_it_has_begun(migrated_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    async with agentdb.connect(migrated_url) as db:
        await enqueue(db, 2)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ENDED, migrated_url, stdout=asyncio.subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begun\n"
        process.terminate()

        assert await asyncio.wait_for(process.wait(), 60) == 0
        rows = (await db.execution.executions.page()).items
        assert [(row.status, row.output) for row in rows] == [("completed", "done"), ("pending", None)]
