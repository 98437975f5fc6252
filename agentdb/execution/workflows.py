"""Workflows: graphs of steps that are drafted, activated, executed, and put away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentdb.engine.asked import whole_number
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, InvalidTransition, NotFound, StaleVersion, brief
from agentdb.execution.definitions import Problem, told
from agentdb.execution.graphs import Graph, validate
from agentdb.execution.models import Execution, Workflow, WorkflowStatus, WorkflowVersion
from agentdb.execution.versions import CHANGEABLE, FROM, KEEP, KEPT, MOVE, update_plan
from agentdb.guarded import Guarded
from agentdb.page import Page


class Workflows(Guarded[Workflow]):
    """Graphs of steps. A draft may be activated, an active one deactivated, each archived; that is the end."""

    model = Workflow

    async def create(
        self, user_id: int, name: str, definition: Any, *, description: str | None = None, activate: bool = False
    ) -> Workflow:
        """Store a workflow: a draft, which may have problems; or one that may be executed at once, which has none.

        Args:
            user_id: whose.
            name: what people call it.
            definition: nodes and edges: see `agentdb.execution.definitions`.
            description: what it is for.
            activate: whether it may be executed.

        Raises: BadInput, for an active one with all its problems, and nothing is stored; MissingReference.
        """
        if activate:
            _refuse(validate(definition), f"workflow {brief(name)}")
        status = WorkflowStatus.active if activate else WorkflowStatus.draft
        row = {"user_id": user_id, "name": name, "definition": definition, "description": description, "status": status}
        now = self.connection.now()

        def created() -> Script[Workflow | None]:
            workflow = yield from one(insert_one(Workflow), **row)
            if activate and workflow is not None:
                yield from one(KEEP, workflow_id=workflow.id, now=now)
            return workflow

        return self._there(await self.connection.run(created))

    @staticmethod
    def validate(definition: Any) -> list[Problem]:
        """Return all that is wrong with a definition, of whatever shape: none for one that can be executed."""
        return validate(definition)

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> Workflow:
        """Change a workflow if its definition is still of a version; a new definition counts the version up.

        What is executed already goes on with the definition it began with.

        Args:
            key: its id.
            expected_version: of the workflow that the change was made from.
            changes: ``name``, ``description``, ``definition``. Only a draft's may have problems.

        Raises: StaleVersion when the definition has changed meanwhile; InvalidTransition for an archived one; BadInput
            for problems, all of them; NotFound.
        """
        workflow_id = self._key(key)["id"]
        if not changes or not changes.keys() <= set(CHANGEABLE):
            raise BadInput(f"an update of a workflow changes {', '.join(CHANGEABLE)}, not {', '.join(sorted(changes))}")
        if expected_version is None:
            raise BadInput("expected_version is required: the version of the workflow that the change was made from")
        problems = validate(changes["definition"]) if "definition" in changes else []
        held = {"workflow_id": workflow_id, "expected_version": expected_version, "valid": not problems}
        values = {**changes, **held, "now": self.connection.now()}
        row = await self._kept(update_plan(frozenset(changes)), values)
        if row is not None:
            return row
        present = await self.get(workflow_id)
        if present.status is WorkflowStatus.archived:
            raise InvalidTransition(f"workflow {workflow_id} is archived, and is not changed any more")
        if present.version == expected_version:
            _refuse(problems, f"workflow {workflow_id}, which is {present.status},")
        raise _stale(present, expected_version)

    async def activate(self, workflow_id: int, *, expected_version: int | None = None) -> Workflow:
        """Let a draft or an inactive workflow be executed, when it has no problems.

        Raises: BadInput with all problems; InvalidTransition when it is active or archived; StaleVersion when the
            definition is of another version; NotFound.
        """
        if expected_version is not None:
            whole_number(expected_version, "expected_version")
        while True:
            present = await self.get(workflow_id)
            if expected_version not in (None, present.version):
                raise _stale(present, expected_version)
            _refuse_move(present, WorkflowStatus.active)
            _refuse(validate(present.definition), f"workflow {workflow_id}")
            # What was looked at is what is activated: if the definition changes meanwhile, it is looked at again.
            values = {"workflow_id": workflow_id, "expected_version": present.version, "now": self.connection.now()}
            row = await self._kept(MOVE[WorkflowStatus.active], values)
            if row is not None:
                return row

    async def deactivate(self, workflow_id: int) -> Workflow:
        """Let an active workflow be executed no more; what is in a queue already goes on.

        Raises: InvalidTransition when it is not active; NotFound.
        """
        return await self._move(workflow_id, WorkflowStatus.inactive)

    async def archive(self, workflow_id: int) -> Workflow:
        """Put a workflow away for good; what is in a queue already goes on.

        Raises: InvalidTransition when it is archived; NotFound.
        """
        return await self._move(workflow_id, WorkflowStatus.archived)

    async def remove(self, *key: Any) -> bool:
        """Remove a workflow with all its executions, and tell whether it was there."""
        return await super(Guarded, self).remove(*key)

    async def page_by_user(
        self, user_id: int, *, status: WorkflowStatus | str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Workflow]:
        """Return a page of a user's workflows, the newest first; only those of a status, where one is given.

        Cost: one read by (user_id, id).
        """
        criteria = {} if status is None else {"status": status}
        return await self.page(newest_first=True, limit=limit, after=after, user_id=user_id, **criteria)

    async def graph_of(self, execution: Execution) -> Graph:
        """Return the graph that an execution began with.

        Raises: NotFound when it is not there any more, or was never active.
        """
        given: object = execution
        if not isinstance(given, Execution):
            raise BadInput(f"the graph of an execution was asked for, not of {type(given).__name__}")
        return await self.graph(execution.workflow_id, execution.workflow_version)

    async def graph(self, workflow_id: int, version: int) -> Graph:
        """Return the graph of a version that was active.

        Raises: NotFound.
        """
        kept: WorkflowVersion | None = await self.connection.fetch_one(
            KEPT, {"workflow_id": workflow_id, "version": version}
        )
        if kept is None:
            raise NotFound(f"workflow {workflow_id} was never active in version {version}")
        return Graph.of(kept.definition)

    async def _kept(self, plan: Plan[Workflow], values: dict[str, Any]) -> Workflow | None:
        """Change a workflow, and keep its definition when it is active."""

        def script() -> Script[Workflow | None]:
            row = yield from one(plan, **values)
            if row is not None and row.status is WorkflowStatus.active:
                yield from one(KEEP, workflow_id=row.id, now=values["now"])
            return row

        return await self.connection.run(script)

    async def _move(self, workflow_id: int, to: WorkflowStatus) -> Workflow:
        values = {"workflow_id": workflow_id, "expected_version": None, "now": self.connection.now()}
        row: Workflow | None = await self.connection.fetch_one(MOVE[to], values)
        if row is None:
            present = await self.get(workflow_id)
            _refuse_move(present, to)
            raise InvalidTransition(f"workflow {workflow_id} was not to be made {to} until this moment; try it again")
        return row


def _refuse(problems: Sequence[Problem], subject: str) -> None:
    if problems:
        raise BadInput(f"{subject} cannot be executed: {told(problems)}")


def _refuse_move(present: Workflow, to: WorkflowStatus) -> None:
    if present.status not in FROM[to]:
        wanted = " or ".join(FROM[to])
        raise InvalidTransition(f"workflow {present.id} is {present.status}; only one that is {wanted} becomes {to}")


def _stale(present: Workflow, expected: int | None) -> StaleVersion:
    return StaleVersion(
        f"workflow {present.id} has version {present.version}, not {expected}; read it again, and change that"
    )
