"""What the tests of the queue begin with."""

from __future__ import annotations

from typing import Any

from agentdb.database import Database
from agentdb.execution.claims import Claims
from agentdb.execution.models import Execution, Workflow
from agentdb.execution.records import Claim
from agentdb.repository import Repository
from agentdb.testing.factories import make_user

LINE: Any = {
    "nodes": [{"id": "begin", "type": "START"}, {"id": "end", "type": "END"}],
    "edges": [{"source": "begin", "target": "end"}],
}
"""The shortest definition that may be executed."""


class Rows(Repository[Execution]):
    """Executions as any other writer sees them: by their columns."""

    model = Execution


async def make_workflow(db: Database, user_id: int | None = None) -> Workflow:
    """Make an active workflow; of a new user, unless one is given."""
    owner = user_id if user_id is not None else (await make_user(db)).id
    return await db.execution.workflows.create(owner, "w", LINE, activate=True)


async def enqueue(db: Database, n: int = 1, workflow: Workflow | None = None, **details: Any) -> list[Execution]:
    """Put executions into a queue; of a new workflow, unless one is given."""
    workflow = workflow or await make_workflow(db)
    row = {"workflow_id": workflow.id, "user_id": workflow.user_id, **details}
    return await db.execution.executions.enqueue_many({**row, "input": number} for number in range(n))


async def claim_one(within: Claims, **details: Any) -> Claim:
    """Claim one execution, which has to be there."""
    (claim,) = await within.claim("worker", **details)
    return claim
