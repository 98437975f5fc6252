"""What the queue costs when its statistics are old, and when there is nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

import agentdb
from agentdb import urls
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.execution import finishing
from agentdb.execution.records import Claim
from tests.execution.queues import enqueue
from tests.execution.test_queue_plans import NOW, on_driver, plan_of

MOST_IN_A_MINUTE = 12

ONE = {"execution_id": 5, "held_attempt": 1, "now": NOW}
SOME = {"execution_id": [5, 7], "held_attempt": [1, 1], "now": NOW}
BY_CLAIM: dict[str, tuple[Plan[Any], Mapping[str, Any]]] = {
    "complete": (finishing.COMPLETE, {**ONE, "output": None}),
    "fail": (finishing.FAIL, {**ONE, "error": "e", "retry": True, "available_at": NOW}),
    "release": (finishing.RELEASE, ONE),
    "stop": (finishing.STOP, ONE),
    "heartbeat": (finishing.HEARTBEAT, {**ONE, "lease_until": NOW}),
    "heartbeats": (finishing.HEARTBEATS, {**SOME, "lease_until": NOW}),
    "release many": (finishing.RELEASE_MANY, SOME),
}


async def test_a_claim_is_found_by_its_key_though_nothing_ran_when_statistics_were_made(db: Database) -> None:
    await enqueue(db, 2_000)
    async with db.sessions() as session:
        await session.execute(text("ANALYZE"))
        await session.commit()

    for name, (plan, values) in BY_CLAIM.items():
        told = await on_driver(db, plan, values, plan_of)

        assert "ix_executions__leased" not in told, f"{name}\n{told}"
        assert "pk_executions" in told or "INTEGER PRIMARY KEY" in told, f"{name}\n{told}"


@asynccontextmanager
async def working(db: Database) -> AsyncIterator[None]:
    """Have a worker while the block lasts."""

    async def handler(_claim: Claim) -> None:
        """Do nothing."""

    worker = asyncio.create_task(db.execution.executions.run(handler))
    try:
        yield
    finally:
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker


@pytest.mark.long
async def test_an_idle_worker_sends_the_server_few_statements_in_a_minute(postgresql_url: str) -> None:
    """Each of them is a transaction of its own, which the server counts, from whatever connection."""
    connection = await asyncpg.connect(**urls.parse(postgresql_url, source="test", environment={}).connect_arguments())
    asked = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"

    async def counted() -> int:
        await asyncio.sleep(15)  # what a backend has counted is told within ten seconds
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        return int(await connection.fetchval(asked))

    own = 2  # those of the one that counts
    try:
        async with agentdb.connect(postgresql_url) as db:
            resting = await counted()
            without = await counted() - resting
            async with working(db):
                before = await counted()
                await asyncio.sleep(45)
                within = await counted() - before
    finally:
        await connection.close()

    assert within - own <= MOST_IN_A_MINUTE + 4 * max(without - own, 0)
