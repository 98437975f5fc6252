"""How executions come into a queue: the statement that stores one carries the condition that its workflow is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Select, Table, literal_column, select
from sqlalchemy.sql import FromClause

from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Script, each, one
from agentdb.engine.plan import Plan, Together
from agentdb.engine.statements import given_arrays, insert_into
from agentdb.errors import AgentDBError, Conflict, InvalidTransition, MissingReference
from agentdb.execution.models import Execution, Workflow, WorkflowStatus
from agentdb.execution.standing import executions

_workflows: Final[Table] = Workflow.__table__  # type: ignore[assignment]
_COLUMNS: Final = [column for column in bound_columns(executions) if column.key != "workflow_version"]
_KEYS: Final = [*(column.key for column in _COLUMNS), "workflow_version"]
_ACTIVE: Final = _workflows.c.status == literal_column(f"'{WorkflowStatus.active}'")
KEY: Final = ("workflow_id", "idempotency_key")


def _rows(given: FromClause | None = None) -> Select[Any]:
    """Return the rows to store, without those whose workflow is not active."""
    source = (of(column) if given is None else given.c[column.key] for column in _COLUMNS)
    workflow_id = of(executions.c.workflow_id) if given is None else given.c.workflow_id
    rows = select(*source, _workflows.c.version).where(_workflows.c.id == workflow_id, _ACTIVE)
    return rows if given is None else rows.order_by(given.c.ordinal)


def _enqueue_plan() -> Plan[Execution]:
    single = insert_into(executions).from_select(_KEYS, _rows(), include_defaults=False).returning(executions)
    given = given_arrays(**{column.key: column.type for column in _COLUMNS})
    stored = (
        insert_into(executions)
        .from_select(_KEYS, _rows(given), include_defaults=False)
        .returning(executions)
        .cte("stored")
    )
    # Each knows its caller by its uuid, which the library has made.
    again = given_arrays(uuid=executions.c.uuid.type)
    together = select(*(stored.c[column.key] for column in executions.columns), again.c.ordinal).join_from(
        stored, again, again.c.uuid == stored.c.uuid
    )
    return Plan(
        single,
        name="executions.enqueue",
        rows=Execution,
        columns=[column.key for column in _COLUMNS],
        together=Together(together),
    )


ENQUEUE: Final = _enqueue_plan()
ENQUEUE_ONCE: Final = Plan[Execution](
    insert_into(executions)
    .from_select(_KEYS, _rows(), include_defaults=False)
    .on_conflict_do_nothing(index_elements=list(KEY))
    .returning(executions),
    name="executions.enqueue: once",
    rows=Execution,
    columns=[column.key for column in _COLUMNS],
)
BY_KEY: Final = Plan[Execution](
    select(Execution).where(*(executions.c[name] == of(executions.c[name]) for name in KEY)),
    name="executions.by_key",
    rows=Execution,
)
STATUS_OF_WORKFLOW: Final = Plan[WorkflowStatus](
    select(_workflows.c.status).where(_workflows.c.id == of(_workflows.c.id)),
    name="workflows.status",
    point=True,
)


def not_stored(row: Mapping[str, Any], status: WorkflowStatus | None) -> AgentDBError:
    """Return the error for an execution that was not stored.

    Args: status: its workflow's; None when there is no such workflow.
    """
    workflow = row["workflow_id"]
    if status is None:
        return MissingReference(
            f"executions: no row of workflows for workflow_id '{workflow}'; add it first",
            constraint="fk_executions__workflow_id",
        )
    if status is not WorkflowStatus.active:
        return InvalidTransition(f"workflow {workflow} is {status}, and only an active one is executed; activate it")
    if row["idempotency_key"] is None:
        return InvalidTransition(f"workflow {workflow} was not active until this moment; enqueue it again")
    return Conflict(
        f"an execution under key {row['idempotency_key']!r} was removed at this moment; enqueue it again",
        constraint="uq_executions__workflow_id_idempotency_key",
    )


def enqueue_all(rows: Sequence[Mapping[str, Any]]) -> Script[list[Execution]]:
    """Within a script: store executions, all or none, and return them in their order."""
    stored: dict[int, Execution | None] = {}
    plain = [place for place, row in enumerate(rows) if row["idempotency_key"] is None]
    # In the order of their keys, so that two calls with the same keys do not wait for each other.
    keyed = sorted(
        (place for place, row in enumerate(rows) if row["idempotency_key"] is not None),
        key=lambda place: (rows[place]["workflow_id"], rows[place]["idempotency_key"]),
    )
    for plan, places in ((ENQUEUE, plain), (ENQUEUE_ONCE, keyed)):
        found = yield from each(plan, [rows[place] for place in places])
        stored |= dict(zip(places, found, strict=True))
    answers = []
    for place, row in enumerate(rows):
        execution = stored[place]
        if execution is None and row["idempotency_key"] is not None:
            execution = yield from one(BY_KEY, **{name: row[name] for name in KEY})
        if execution is None:
            raise not_stored(row, (yield from one(STATUS_OF_WORKFLOW, id=row["workflow_id"])))
        answers.append(execution)
    return answers
