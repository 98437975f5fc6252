"""What cannot be done is refused in our own words, whatever it is, and alike on both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.execution.models import ExecutionStatus
from agentdb.execution.records import Claim
from tests.execution.queues import LINE, claim_one, enqueue, make_workflow

LONG = 10**5_000  # Python spells no number of so many digits


async def nothing(*_: Any) -> None:
    """Do nothing."""


async def test_whatever_a_caller_passes_is_refused_in_our_words(db: Database, subtests: pytest.Subtests) -> None:
    workflow = await make_workflow(db)
    await enqueue(db, 2, workflow)
    claim = await claim_one(db.execution.executions)
    user, agent = workflow.user_id, (await db.catalog.agents.create("helper")).id
    session = (await db.execution.agent_sessions.start(user_id=user, agent_id=agent)).id
    executions, logs, sessions = db.execution.executions, db.execution.node_logs, db.execution.agent_sessions
    workflows, row = db.execution.workflows, {"workflow_id": workflow.id, "user_id": user}
    none: Any = None
    some: Any = 5
    odd: Any = ["x", 1]
    listed = Claim(odd, 1, claim.execution)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "a name too long to tell": lambda: workflows.create(user, LONG, {}, activate=True),  # type: ignore[arg-type]
        "a version too long to tell": lambda: workflows.activate(workflow.id, expected_version=LONG),
        "a version that is a flag": lambda: workflows.activate(workflow.id, expected_version=True),
        "the graph of nothing": lambda: workflows.graph_of(none),
        "no rows": lambda: executions.enqueue_many(none),
        "a row alone": lambda: executions.enqueue_many(row),  # type: ignore[arg-type]
        "rows that are none": lambda: executions.enqueue_many([some]),
        "members of several kinds": lambda: executions.enqueue_many([{**row, "x": 1, 5: 1, LONG: 1}]),  # type: ignore[dict-item]
        "attempts too long to tell": lambda: executions.enqueue(**row, max_attempts=[LONG]),  # type: ignore[arg-type]
        "an empty moment": lambda: executions.enqueue(**row, available_at=""),  # type: ignore[arg-type]
        "no moment": lambda: executions.prune(none),
        "a queue too long to tell": lambda: executions.dead_letters(LONG),  # type: ignore[arg-type]
        "a worker too long to tell": lambda: executions.claim(LONG),  # type: ignore[arg-type]
        "no claims": lambda: executions.heartbeat(none),
        "claims that are none": lambda: executions.heartbeat([some]),
        "a claim of a list": lambda: executions.heartbeat([listed]),
        "claims to release that are none": lambda: executions.release_many([claim, some]),
        "a claim to complete": lambda: executions.complete(none),
        "a claim to release": lambda: executions.release(some),
        "a claim to stop": lambda: executions.stop(some),
        "a claim to fail": lambda: executions.fail(some, "broken"),
        "a claim without an attempt": lambda: executions.fail(Claim(claim.id, none, claim.execution), "broken"),
        "a backoff in seconds": lambda: executions.fail(claim, "broken", backoff=some),
        "dice of one face": lambda: executions.fail(claim, "broken", dice=some),
        "nothing finished": lambda: executions.complete_and_claim(none, "w"),
        "finished without output": lambda: executions.complete_and_claim([claim], "w"),  # type: ignore[list-item]
        "finished by nobody": lambda: executions.complete_and_claim([(none, 1)], "w"),
        "a node of no claim": lambda: logs.start(none, "begin"),
        "a node done by nobody": lambda: logs.complete(none, "begin"),
        "a node passed by nobody": lambda: logs.skip(none, "begin"),
        "no entries": lambda: logs.append_many(claim, none),
        "entries that are none": lambda: logs.append_many(claim, [some]),
        "entries of nobody": lambda: logs.append_many(none, []),
        "a step of nobody": lambda: logs.step(none, "begin", nothing),
        "a step that does nothing": lambda: logs.step(claim, "begin", none),
        "context that is a text": lambda: sessions.start(user_id=user, agent_id=agent, context=""),  # type: ignore[arg-type]
        "variables that are 0": lambda: sessions.patch(session, variables=0),  # type: ignore[arg-type]
        "messages too long to tell": lambda: sessions.record(session, messages=[LONG]),  # type: ignore[arg-type]
        "no tools": lambda: sessions.record(session, tools=none),
        "a user too long to tell": lambda: sessions.of_user(LONG),
        "a user in a list": lambda: sessions.of_user([user]),  # type: ignore[arg-type]
        "statuses too long to tell": lambda: sessions.of_user(user, statuses=[LONG]),  # type: ignore[list-item]
        "keys of several kinds": lambda: executions.count(id__in=odd),
    }

    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput):
            await call()
    for follow in (executions.follow, logs.follow):
        with pytest.raises(BadInput):
            follow(LONG)
    assert await executions.count() == 2
    assert (await executions.get(claim.id)).status is ExecutionStatus.running
    assert (await logs.of(claim.id)).items == []


async def test_a_worker_that_cannot_work_claims_nothing(db: Database) -> None:
    (waiting,) = await enqueue(db)
    executions = db.execution.executions
    wrongs: tuple[dict[str, Any], ...] = (
        {"handler": None},
        {"handler": "act"},
        {"backoff": 5},
        {"drain_seconds": LONG},
        {"drain_seconds": [LONG]},
        {"queue": LONG},
    )

    for wrong in wrongs:
        with pytest.raises(BadInput, match=next(iter(wrong))):
            await executions.run(**{"handler": nothing, **wrong})
    assert (await executions.get(waiting.id)).attempt == 0


async def test_a_definition_that_is_no_graph_is_told_as_problems_only(db: Database) -> None:
    for definition in (LONG, [LONG], {"nodes": LONG}, {**LINE, "nodes": [{"id": LONG, "type": [LONG]}]}):
        assert db.execution.workflows.validate(definition)


async def test_an_execution_waits_for_the_moment_it_was_given(db: Database) -> None:
    workflow = await make_workflow(db)
    executions = db.execution.executions
    moment = clock.now().replace(year=2090)

    execution = await executions.enqueue(workflow.id, workflow.user_id, available_at=moment)

    assert execution.available_at == moment
    assert await executions.claim("w") == []
