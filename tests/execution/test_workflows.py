"""Workflows are drafted, activated, executed and put away; an execution keeps the definition it began with."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from sqlalchemy import update

from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, InvalidTransition, MissingReference, NotFound, ReadOnly, StaleVersion
from agentdb.execution.models import ExecutionStatus, Workflow, WorkflowStatus, WorkflowVersion
from agentdb.execution.workflows import Workflows
from agentdb.testing.factories import make_user
from tests.execution.queues import LINE, claim_one
from tests.execution.test_graphs import graph

WRONG: Any = {"nodes": [{"id": "a", "type": "AGENT"}], "edges": [{"source": "a", "target": "b"}]}


async def draft(db: Database, definition: Any = LINE) -> Workflow:
    return await db.execution.workflows.create((await make_user(db)).id, "w", definition)


async def test_a_draft_may_be_stored_with_problems(db: Database) -> None:
    workflows = db.execution.workflows
    workflow = await draft(db, WRONG)

    found = await workflows.get(workflow.id)
    assert (found.status, found.version, found.definition) == (WorkflowStatus.draft, 1, WRONG)
    assert len(Workflows.validate(found.definition)) == 3
    anything: Any
    for anything in ([], "x", {"nodes": 7}):
        found = await workflows.update(found.id, expected_version=found.version, definition=anything)
    assert (found.version, found.definition) == (4, {"nodes": 7})


async def test_nothing_is_stored_of_an_active_workflow_with_problems_and_all_are_told(db: Database) -> None:
    user = (await make_user(db)).id
    workflows = db.execution.workflows

    with pytest.raises(BadInput, match=r"edge 0 is no node: 'b'; there is no START node, not one; there is no END"):
        await workflows.create(user, "w", WRONG, activate=True)
    with pytest.raises(MissingReference):
        await workflows.create(10**9, "w", LINE, activate=True)

    assert await workflows.count() == 0
    assert (await workflows.create(user, "w", LINE, activate=True)).status is WorkflowStatus.active


async def test_a_new_definition_counts_the_version_up_and_another_name_does_not(db: Database) -> None:
    workflow = await draft(db)
    update = db.execution.workflows.update

    renamed = await update(workflow.id, expected_version=1, name="other", description="d")
    redefined = await update(workflow.id, expected_version=1, definition=WRONG)
    with pytest.raises(StaleVersion, match="has version 2, not 1"):
        await update(workflow.id, expected_version=1, name="late")
    bare = await update(workflow.id, expected_version=2, description=None)

    assert (renamed.name, renamed.description, renamed.version, renamed.definition) == ("other", "d", 1, LINE)
    assert (redefined.name, redefined.version, redefined.definition) == ("other", 2, WRONG)
    assert (bare.description, bare.version) == (None, 2)


async def test_of_those_who_change_one_version_exactly_one_wins(db: Database) -> None:
    workflow = await draft(db)

    async def change(number: int) -> bool:
        try:
            await db.execution.workflows.update(workflow.id, expected_version=1, definition={"nodes": [], "n": number})
        except StaleVersion:
            return False
        return True

    won = await asyncio.gather(*(change(number) for number in range(10)))

    assert sum(won) == 1
    found = await db.execution.workflows.get(workflow.id)
    assert (found.version, found.definition["n"]) == (2, won.index(True))


async def test_what_is_not_changed_by_update_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    workflow = await draft(db, WRONG)

    some: tuple[dict[str, Any], ...] = ({}, {"status": "active"}, {"version": 7}, {"user_id": 1}, {"colour": "red"})
    for changes in some:
        with subtests.test(**changes), pytest.raises(BadInput):
            await db.execution.workflows.update(workflow.id, expected_version=1, **changes)
    with pytest.raises(BadInput):
        await db.execution.workflows.update(workflow.id, expected_version=1, name=None)
    with pytest.raises(BadInput, match="expected_version"):
        await db.execution.workflows.update(workflow.id, name="x")
    with pytest.raises(NotFound):
        await db.execution.workflows.update(10**9, expected_version=1, name="x")


STEPS = {
    ("draft", "activate"): "active",
    ("draft", "archive"): "archived",
    ("active", "deactivate"): "inactive",
    ("active", "archive"): "archived",
    ("inactive", "activate"): "active",
    ("inactive", "archive"): "archived",
}


async def _be(db: Database, status: str) -> Workflow:
    workflow = await draft(db)
    for step in {"active": ["activate"], "inactive": ["activate", "deactivate"], "archived": ["archive"]}.get(
        status, []
    ):
        workflow = await getattr(db.execution.workflows, step)(workflow.id)
    assert workflow.status == status
    return workflow


async def test_a_workflow_moves_only_as_the_table_says(db: Database, subtests: pytest.Subtests) -> None:
    workflows = db.execution.workflows

    for status, step in product(WorkflowStatus, ("activate", "deactivate", "archive")):
        with subtests.test(status=status, step=step):
            workflow = await _be(db, status)
            wanted = STEPS.get((status, step))
            if wanted is None:
                with pytest.raises(InvalidTransition, match=f"is {status}"):
                    await getattr(workflows, step)(workflow.id)
            else:
                assert (await getattr(workflows, step)(workflow.id)).status == wanted
            found = await workflows.get(workflow.id)
            assert (found.status, found.version) == (wanted or status, 1)


async def test_what_has_problems_is_not_activated_and_what_is_active_gets_none(db: Database) -> None:
    workflows = db.execution.workflows
    wrong, right = await draft(db, WRONG), await _be(db, "active")

    with pytest.raises(BadInput, match="no START"):
        await workflows.activate(wrong.id)
    with pytest.raises(StaleVersion):
        await workflows.activate(wrong.id, expected_version=2)
    with pytest.raises(BadInput, match="which is active, cannot be executed"):
        await workflows.update(right.id, expected_version=1, definition=WRONG)
    await workflows.deactivate(right.id)
    with pytest.raises(BadInput, match="which is inactive, cannot be executed"):
        await workflows.update(right.id, expected_version=1, definition=WRONG)
    await workflows.archive(right.id)
    with pytest.raises(InvalidTransition, match="archived"):
        await workflows.update(right.id, expected_version=1, name="x")

    assert (await workflows.get(wrong.id)).status is WorkflowStatus.draft
    assert (await workflows.get(right.id)).version == 1


async def test_what_is_activated_is_what_was_looked_at(db: Database) -> None:
    """While one activates a workflow, another spoils it, again and again."""
    workflows = db.execution.workflows
    user = (await make_user(db)).id

    async def spoil(workflow: Workflow) -> None:
        with suppress(BadInput, StaleVersion):
            await workflows.update(workflow.id, expected_version=1, definition=WRONG)

    async def activate(workflow: Workflow) -> None:
        with suppress(BadInput):
            await workflows.activate(workflow.id)

    for _ in range(15):
        workflow = await workflows.create(user, "w", LINE)
        await asyncio.gather(activate(workflow), spoil(workflow))
        found = await workflows.get(workflow.id)
        assert (found.status, found.definition) in [("active", LINE), ("draft", WRONG)]


async def test_a_users_workflows_come_newest_first_and_by_status(db: Database) -> None:
    workflows = db.execution.workflows
    user = (await make_user(db)).id
    await draft(db)
    ids = [(await workflows.create(user, f"w{n}", LINE, activate=n % 2 == 0)).id for n in range(5)]

    page = await workflows.page_by_user(user, limit=3)
    rest = await workflows.page_by_user(user, limit=3, after=page.next)
    active = await workflows.page_by_user(user, status="active")
    drafts = await workflows.page_by_user(user, status=WorkflowStatus.draft, limit=1)

    assert [row.id for row in [*page.items, *rest.items]] == ids[::-1]
    assert [row.id for row in active.items] == [ids[4], ids[2], ids[0]]
    assert [row.id for row in drafts.items] == [ids[3]]
    with pytest.raises(BadInput):
        await workflows.page_by_user(user, status="colour")


async def test_workflows_are_not_written_by_their_columns(db: Database) -> None:
    workflow = await draft(db)
    workflows = db.execution.workflows

    for refused in (
        workflows.add(user_id=workflow.user_id, name="w", definition={}, status="active"),
        workflows.add_many([{"user_id": workflow.user_id, "name": "w", "definition": {}}]),
        workflows.upsert(on=["uuid"], uuid=workflow.uuid, name="w"),
    ):
        with pytest.raises(BadInput, match="has methods"):
            await refused
    assert await workflows.count() == 1


# Executions of them


async def test_only_an_active_workflow_is_executed(db: Database, subtests: pytest.Subtests) -> None:
    good = await _be(db, "active")
    executions = db.execution.executions

    for status, key in product(("draft", "inactive", "archived"), (None, "k")):
        with subtests.test(status=status, key=key):
            workflow = await _be(db, status)
            row = {"workflow_id": workflow.id, "user_id": workflow.user_id}
            with pytest.raises(InvalidTransition, match=f"is {status}"):
                await executions.enqueue(workflow.id, workflow.user_id, idempotency_key=key)
            with pytest.raises(InvalidTransition, match=f"is {status}"):
                await executions.enqueue_many(
                    [{"workflow_id": good.id, "user_id": good.user_id}, {**row, "idempotency_key": key}]
                )
            with pytest.raises(MissingReference, match="workflow_id"):
                await executions.enqueue(10**9, workflow.user_id, idempotency_key=key)
    with pytest.raises(MissingReference, match="user_id"):
        await executions.enqueue(good.id, 10**9)

    assert await executions.count() == 0


async def test_of_many_at_once_each_is_judged_by_its_own_workflow(db: Database) -> None:
    good, bad = await _be(db, "active"), await _be(db, "inactive")
    executions = db.execution.executions

    answers = await asyncio.gather(
        *(executions.enqueue((good, bad)[n % 2].id, good.user_id, n) for n in range(40)), return_exceptions=True
    )

    stored = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [row.input for row in stored] == list(range(0, 40, 2))
    assert {row.workflow_id for row in stored} == {good.id}
    assert all(isinstance(answer, InvalidTransition) for answer in answers[1::2])
    assert [row.input for row in (await executions.page()).items] == list(range(0, 40, 2))


async def test_a_refused_execution_spoils_no_unit(db: Database) -> None:
    workflow = await _be(db, "draft")

    async with db.write() as unit:
        with pytest.raises(InvalidTransition):
            await unit.execution.executions.enqueue(workflow.id, workflow.user_id)
        await unit.execution.workflows.activate(workflow.id)
        await unit.execution.executions.enqueue(workflow.id, workflow.user_id)

    assert await db.execution.executions.count() == 1


async def test_the_key_of_what_was_stored_before_is_known_when_its_workflow_is_put_away(db: Database) -> None:
    workflow = await _be(db, "active")
    enqueue = db.execution.executions.enqueue
    first = await enqueue(workflow.id, workflow.user_id, idempotency_key="k")
    await db.execution.workflows.archive(workflow.id)

    assert (await enqueue(workflow.id, workflow.user_id, idempotency_key="k")).id == first.id
    claim = await claim_one(db.execution.executions)
    await db.execution.executions.complete(claim)
    assert (await db.execution.executions.get(first.id)).status is ExecutionStatus.completed


async def test_an_execution_keeps_the_definition_it_began_with(db: Database) -> None:
    workflows, enqueue = db.execution.workflows, db.execution.executions.enqueue
    workflow = await draft(db, WRONG)
    await workflows.update(workflow.id, expected_version=1, definition=LINE)
    await workflows.activate(workflow.id)
    old = await enqueue(workflow.id, workflow.user_id)
    await workflows.update(workflow.id, expected_version=2, definition=graph("sxe", "sx", "xe"))
    new = await enqueue(workflow.id, workflow.user_id)

    claims = await db.execution.executions.claim("w", n=2)
    assert [claim.execution.workflow_version for claim in claims] == [2, 3]
    assert [list((await workflows.graph_of(row)).nodes) for row in (old, new)] == [["begin", "end"], ["s", "x", "e"]]
    with pytest.raises(NotFound, match="never active in version 1"):
        await workflows.graph(workflow.id, 1)
    await workflows.deactivate(workflow.id)
    await workflows.activate(workflow.id)
    assert list((await workflows.graph(workflow.id, 3)).nodes) == ["s", "x", "e"]


async def test_what_was_active_is_kept_as_it_was(db: Database) -> None:
    workflow = await _be(db, "active")

    with pytest.raises(ReadOnly):
        await db._shortcut.execute(Plan[None](update(WorkflowVersion).values(definition={}), name="test"), {})
    assert await db.execution.workflows.remove(workflow.id)
    assert not await db.execution.workflows.exists()


async def test_a_retried_execution_goes_on_where_it_failed(db: Database) -> None:
    """Both branches hang on one node: the one that failed is done again, and nothing else."""
    user = (await make_user(db)).id
    drawn = graph("sabe", "sa", "sb", "ae", "be")
    workflow = await db.execution.workflows.create(user, "w", drawn, activate=True)
    execution = await db.execution.executions.enqueue(workflow.id, user)
    logs, acts, broken = db.execution.node_logs, list[str](), {"b"}

    async def act(node: str) -> str:
        acts.append(node)
        if node in broken:
            raise ValueError(node)
        return node.upper()

    async def walk() -> None:
        claim = await claim_one(db.execution.executions)
        shape = await db.execution.workflows.graph_of(claim.execution)
        finished = await logs.finished(claim.id)
        try:
            while ready := shape.ready(finished):
                for node in ready:
                    await logs.step(claim, node, lambda node=node: act(node))  # type: ignore[misc]
                    finished.add(node)
        except ValueError as error:
            await db.execution.executions.fail(claim, str(error), retry=False)
        else:
            await db.execution.executions.complete(claim, "done")

    await walk()
    assert await logs.finished(execution.id) == {"s", "a"}
    await db.execution.workflows.update(workflow.id, expected_version=1, definition=graph("se", "se"))
    broken.clear()
    await db.execution.executions.retry(execution.id)
    await walk()

    assert acts == ["s", "a", "b", "b", "e"]
    assert (await db.execution.executions.get(execution.id)).output == "done"
