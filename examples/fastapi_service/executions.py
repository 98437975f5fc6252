"""Work to be done: workflows, and their executions, which a worker runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.models import Execution, ExecutionLog, ExecutionStatus, Workflow
from examples.fastapi_service.callers import Me, Mine, ReadMine
from examples.fastapi_service.parameters import Asked, Id, Json, Reference, Title

routes = APIRouter(tags=["executions"])

EXAMPLE = {
    "nodes": [{"id": "start", "type": "START"}, {"id": "ask", "type": "AGENT"}, {"id": "end", "type": "END"}],
    "edges": [{"source": "start", "target": "ask"}, {"source": "ask", "target": "end"}],
}


class NewWorkflow(Asked):
    """A workflow to keep, ready for executions."""

    name: Title = Field(examples=["answer"])
    definition: dict[str, Any] = Field(description="Its nodes and edges.", examples=[EXAMPLE])


class WorkflowShown(Shown, of=Workflow, shows=("id", "uuid", "name", "status", "version", "definition", "created_at")):
    """A workflow."""


class NewExecution(Asked):
    """An execution to ask for."""

    input: Json = Field(default={}, examples=[{"question": "Which trams go to Belém?"}])
    priority: Annotated[int, Field(ge=-100, le=100, description="The highest first.")] = 0
    delay_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0
    idempotency_key: Title | None = Field(default=None, description="Asked for twice, it is executed once.")
    agent_id: Reference | None = None


class ExecutionShown(
    Shown,
    of=Execution,
    shows=(
        "id",
        "workflow_id",
        "workflow_version",
        "agent_id",
        "status",
        "input",
        "output",
        "error",
        "priority",
        "attempt",
        "max_attempts",
        "cancel_requested",
        "created_at",
        "started_at",
        "completed_at",
    ),
):
    """An execution, and how far it got."""


class NodeShown(
    Shown,
    of=ExecutionLog,
    shows=("node_id", "node_name", "attempt", "status", "output", "error", "started_at", "completed_at", "duration_ms"),
):
    """A node of an execution's workflow, and what came of it."""


class Cancelled(BaseModel):
    """What an execution is now that somebody wants it cancelled."""

    status: ExecutionStatus = Field(description="`running`: its worker will be told.")


@routes.post("/workflows", status_code=201, responses=problems(409, 422))
async def create_workflow(new: NewWorkflow, mine: Mine, me: Me) -> WorkflowShown:
    """Keep a workflow that can be executed."""
    workflow = await mine.execution.workflows.create(me.user_id, new.name, new.definition, activate=True)
    return WorkflowShown.model_validate(workflow)


@routes.get("/workflows", responses=problems(422))
async def list_workflows(mine: Mine, me: Me, paging: Paging) -> PageShown[WorkflowShown]:
    """List one's workflows."""
    return paging.shown(await mine.execution.workflows.page_by_user(me.user_id, **paging.words), WorkflowShown)


@routes.post("/workflows/{workflow_id}/executions", status_code=202, responses=problems(404, 409, 422))
async def enqueue_execution(workflow_id: Id, new: NewExecution, mine: Mine, me: Me) -> ExecutionShown:
    """Ask for a workflow to be executed; a worker will."""
    execution = await mine.execution.executions.enqueue(workflow_id, me.user_id, **new.model_dump())
    return ExecutionShown.model_validate(execution)


@routes.get("/executions", responses=problems(422))
async def list_executions(mine: Mine, me: Me, paging: Paging) -> PageShown[ExecutionShown]:
    """List the executions one has asked for, newest first."""
    page = await mine.execution.executions.page(newest_first=True, user_id=me.user_id, **paging.words)
    return paging.shown(page, ExecutionShown)


@routes.get("/executions/{execution_id}", responses=problems(404))
async def show_execution(execution_id: Id, mine: Mine) -> ExecutionShown:
    """Show an execution, and how far it got."""
    return ExecutionShown.model_validate(await mine.execution.executions.get(execution_id))


@routes.get("/executions/{execution_id}/nodes", responses=problems(404, 422))
async def list_nodes(execution_id: Id, unit: ReadMine, paging: Paging) -> PageShown[NodeShown]:
    """List the nodes that were begun."""
    await unit.execution.executions.get(execution_id)
    return paging.shown(await unit.execution.node_logs.of(execution_id, **paging.words), NodeShown)


@routes.post("/executions/{execution_id}/cancel", responses=problems(404, 409))
async def cancel_execution(execution_id: Id, mine: Mine) -> Cancelled:
    """Cancel an execution: at once while it waits, through its worker while it runs."""
    return Cancelled(status=await mine.execution.executions.cancel(execution_id))
