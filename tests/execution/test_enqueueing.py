"""Executions are put into a queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference
from agentdb.execution.models import ExecutionStatus
from tests.execution.queues import make_workflow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_an_enqueued_execution_waits_until_it_may_be_claimed(db: Database) -> None:
    workflow = await make_workflow(db)
    later = NOON + timedelta(hours=2)

    with clock.hold(NOON):
        delayed = await db.execution.executions.enqueue(workflow.id, workflow.user_id, delay_seconds=90)
        dated = await db.execution.executions.enqueue(workflow.id, workflow.user_id, available_at=later)
        stored = await db.execution.executions.enqueue(
            workflow.id, workflow.user_id, {"a": 1}, metadata={"from": "test"}
        )

    found = await db.execution.executions.get(stored.id)
    assert (found.status, found.attempt, found.max_attempts) == (ExecutionStatus.pending, 0, 3)
    assert (found.input, found.metadata_, found.queue) == ({"a": 1}, {"from": "test"}, "default")
    assert found.available_at == NOON
    assert delayed.available_at == NOON + timedelta(seconds=90)
    assert dated.available_at == later


async def test_it_is_stored_with_its_unit_or_not_at_all(db: Database) -> None:
    workflow = await make_workflow(db)

    with suppress(ZeroDivisionError):
        async with db.write() as unit:
            await unit.execution.executions.enqueue(workflow.id, workflow.user_id)
            raise ZeroDivisionError
    async with db.write() as unit:
        await unit.execution.executions.enqueue(workflow.id, workflow.user_id, idempotency_key="k")

    assert await db.execution.executions.count() == 1


async def test_the_same_key_returns_what_was_stored_first(db: Database) -> None:
    one, other = await make_workflow(db), await make_workflow(db)
    enqueue = db.execution.executions.enqueue
    first = await enqueue(one.id, one.user_id, "first", idempotency_key="k")

    again = await asyncio.gather(
        *(enqueue(one.id, one.user_id, f"later {n}", idempotency_key="k") for n in range(20)),
        enqueue(other.id, other.user_id, idempotency_key="k"),
    )

    assert {row.id for row in again[:-1]} == {first.id}
    assert {row.input for row in again[:-1]} == {"first"}
    assert again[-1].id != first.id
    assert await db.execution.executions.count() == 2
    # Nobody has used this one before.
    stored = await asyncio.gather(*(enqueue(one.id, one.user_id, n, idempotency_key="new") for n in range(30)))
    assert len({row.id for row in stored}) == 1
    assert len({row.input for row in stored}) == 1


async def test_many_come_back_in_their_order_and_are_stored_all_or_none(db: Database) -> None:
    workflow = await make_workflow(db)
    base = {"workflow_id": workflow.id, "user_id": workflow.user_id}
    first = await db.execution.executions.enqueue(workflow.id, workflow.user_id, "old", idempotency_key="b")

    rows = await db.execution.executions.enqueue_many(
        [
            {**base, "input": 0},
            {**base, "input": 1, "idempotency_key": "c"},
            {**base, "input": 2, "idempotency_key": "b"},
            {**base, "input": 3, "idempotency_key": "c"},
            {**base, "input": 4},
        ]
    )

    assert [row.input for row in rows] == [0, 1, "old", 1, 4]
    assert rows[2].id == first.id
    assert await db.execution.executions.count() == 4
    with pytest.raises(MissingReference):
        await db.execution.executions.enqueue_many([base, {**base, "workflow_id": 10**9}])
    assert await db.execution.executions.count() == 4


async def test_executions_and_logs_are_not_written_by_their_columns(db: Database) -> None:
    workflow = await make_workflow(db)
    execution = await db.execution.executions.enqueue(workflow.id, workflow.user_id)
    row = {"workflow_id": workflow.id, "user_id": workflow.user_id, "available_at": NOON, "status": "completed"}
    log = {"execution_id": execution.id, "node_id": "a", "node_name": "a", "attempt": 0}

    for refused in (
        db.execution.executions.add(**row),
        db.execution.executions.add_many([row]),
        db.execution.executions.update(execution.id, status="completed"),
        db.execution.executions.upsert(on=["workflow_id", "idempotency_key"], idempotency_key="k", **row),
        db.execution.executions.remove(execution.id),
        db.execution.node_logs.add(**log),
        db.execution.node_logs.add_many([log]),
        db.execution.node_logs.update(1, status="completed"),
        db.execution.node_logs.upsert(on=["execution_id", "node_id", "attempt"], **log),
        db.execution.node_logs.remove(1),
    ):
        with pytest.raises(BadInput, match="has methods for it"):
            await refused

    assert await db.execution.executions.count(status="pending") == 1
    assert await db.execution.node_logs.count() == 0


WRONG: tuple[dict[str, Any], ...] = (
    {"delay_seconds": -1},
    {"delay_seconds": float("nan")},
    {"delay_seconds": 1, "available_at": NOON},
    {"max_attempts": 0},
    {"queue": "q" * 256},
    {"priority": 40_000},
)


async def test_what_cannot_be_meant_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    workflow = await make_workflow(db)

    for wrong in WRONG:
        with subtests.test(**wrong), pytest.raises(BadInput):
            await db.execution.executions.enqueue(workflow.id, workflow.user_id, **wrong)
    with pytest.raises(BadInput, match="colour"):
        await db.execution.executions.enqueue_many([{"workflow_id": 1, "user_id": 1, "colour": "red"}])
