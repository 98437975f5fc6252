"""What cannot be meant is refused where it is said, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.execution.records import Backoff
from agentdb.testing.factories import make_user
from tests.execution.queues import claim_one, enqueue, make_workflow


async def _nothing(_claim: Any) -> None:
    pass


async def test_an_execution_that_cannot_be_meant_is_not_enqueued(db: Database) -> None:
    workflow = await make_workflow(db)
    executions, whole = db.execution.executions, {"workflow_id": workflow.id, "user_id": workflow.user_id}

    for wrong in (
        {"queue": ""},
        {"queue": None},
        {"delay_seconds": "3"},
        {"delay_seconds": None},
        {"delay_seconds": -1},
        {"delay_seconds": 1e18},
        {"metadata": [1]},
        {"metadata": "mine"},
        {"idempotency_key": 5},
        {"workflow_id": "first"},
    ):
        details: dict[str, Any] = {**whole, **wrong}
        with pytest.raises(BadInput, match=next(iter(wrong)).removesuffix("_seconds")):
            await executions.enqueue(**details)
        with pytest.raises(BadInput):
            await executions.enqueue_many([{**whole, "idempotency_key": "a"}, details])
    with pytest.raises(BadInput, match="needs user_id, workflow_id"):
        await executions.enqueue_many([whole, {}])

    assert await executions.count() == 0


async def test_a_claim_that_cannot_be_meant_takes_nothing(db: Database) -> None:
    await enqueue(db)
    executions = db.execution.executions

    wrongs: tuple[dict[str, Any], ...] = (
        {"worker": ""},
        {"worker": None},
        {"queue": ""},
        {"queue": "\ud800", "fair": True},
        {"lease_seconds": "5"},
        {"lease_seconds": 1e12},
        {"most_running": 0},
        {"most_running": "2"},
        {"most_running": 1.5},
    )
    for wrong in wrongs:
        with pytest.raises(BadInput):
            await executions.claim(**{"worker": "w", **wrong})
    with pytest.raises(BadInput, match="drain_seconds"):
        await executions.run(_nothing, drain_seconds=float("inf"))

    claim = await claim_one(executions)
    error: Any = ValueError("no")
    with pytest.raises(BadInput, match="ValueError"):
        await executions.fail(claim, error)
    assert (await executions.get(claim.id)).status == "running"


def test_a_pause_that_cannot_be_meant_is_refused(subtests: pytest.Subtests) -> None:
    some: tuple[Any, ...] = (-1, float("nan"), float("inf"), "1")
    for seconds in some:
        with subtests.test(seconds=seconds):
            with pytest.raises(BadInput, match="first_seconds"):
                Backoff(first_seconds=seconds)
            with pytest.raises(BadInput, match="longest_seconds"):
                Backoff(longest_seconds=seconds)
    assert Backoff(0, 0).seconds(5) == 0


async def test_only_what_failed_leaves_an_error(db: Database) -> None:
    user, agent = await make_user(db), await db.catalog.agents.create("researcher")
    sessions = db.execution.agent_sessions
    session = await sessions.start(user_id=user.id, agent_id=agent.id)
    how: Any = {"error": "none"}

    with pytest.raises(TypeError):
        await sessions.pause(session.id, **how)

    assert (await sessions.get(session.id)).error_logs == []
