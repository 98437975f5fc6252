"""Workers are woken by what they may claim, and by nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.execution import claiming, enqueueing, finishing, node_logs, overseeing
from agentdb.execution.models import CHANGED, WAITING
from agentdb.execution.records import Claim
from tests.execution.queues import claim_one, enqueue, make_workflow
from tests.execution.test_working import running, until

TOLD: dict[str, tuple[Plan[Any], set[str]]] = {
    "enqueue": (enqueueing.ENQUEUE, {WAITING, CHANGED}),
    "enqueue once": (enqueueing.ENQUEUE_ONCE, {WAITING, CHANGED}),
    "fail": (finishing.FAIL, {WAITING, CHANGED}),
    "release": (finishing.RELEASE, {WAITING, CHANGED}),
    "release many": (finishing.RELEASE_MANY, {WAITING, CHANGED}),
    "retry": (overseeing.RETRY, {WAITING, CHANGED}),
    "rescue": (overseeing.RESCUE, {WAITING, CHANGED}),
    "claim": (claiming.CLAIM, {CHANGED}),
    "complete": (finishing.COMPLETE, {CHANGED}),
    "stop": (finishing.STOP, {CHANGED}),
    "cancel": (overseeing.CANCEL, {CHANGED}),
    "heartbeat": (finishing.HEARTBEATS, set()),
    "prune": (overseeing.PRUNE, set()),
    "at a node": (node_logs._AT_NODE, set()),
    "a node ends": (node_logs._FINISH, {CHANGED, "execution_logs"}),
}


def test_only_what_may_be_claimed_is_told_to_those_who_wait() -> None:
    wanted = {what: topics for what, (_, topics) in TOLD.items()}

    for dialect in (POSTGRESQL, SQLITE):
        assert {what: plan.on(dialect).tells for what, (plan, _) in TOLD.items()} == wanted


async def test_an_idle_worker_sleeps_while_others_work(
    agentdb_postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the other database only tells that somebody has committed."""
    db = agentdb_postgresql
    workflow = await make_workflow(db)
    await enqueue(db, 30, workflow)
    executions, looked = db.execution.executions, 0
    fetch_one = executions.connection.fetch_one

    async def counting(plan: Plan[Any], *given: Any) -> Any:
        nonlocal looked
        looked += plan.name == "executions.next"
        return await fetch_one(plan, *given)

    monkeypatch.setattr(executions.connection, "fetch_one", counting)
    async with running(executions.run(_nothing, queue="idle")):
        await asyncio.sleep(0.3)
        for _ in range(30):
            claim = await claim_one(executions)
            await executions.heartbeat([claim])
            await db.execution.node_logs.start(claim, "a")
            await executions.complete(claim)
        await asyncio.sleep(0.3)
        assert looked == 1

        await enqueue(db, 1, workflow, queue="idle")
        await until(db, 1, queue="idle", status="completed")


async def _nothing(_claim: Claim) -> None:
    pass


async def test_a_worker_with_a_limit_is_woken_when_there_is_room(db: Database) -> None:
    await enqueue(db, 2)
    claim = await claim_one(db.execution.executions)

    async with running(db.execution.executions.run(_nothing, most_running=1)):
        await asyncio.sleep(0.5)
        await db.execution.executions.complete(claim)
        async with asyncio.timeout(10):  # its slow poll is behind
            await until(db, 2, status="completed")


@pytest.mark.long
async def test_an_idle_worker_takes_over_soon_when_leases_are_short(db: Database) -> None:
    workflow = await make_workflow(db)

    await enqueue(db, 1, workflow, queue="other")

    async with running(db.execution.executions.run(_nothing, lease_seconds=1)):
        await asyncio.sleep(0.5)
        await claim_one(db.execution.executions, queue="other", lease_seconds=0.2)  # which it is not told of
        async with asyncio.timeout(10):
            await until(db, 1, status="pending", attempt=1)
