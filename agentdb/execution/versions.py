"""How workflows change, and which of their definitions are kept: each change carries its condition."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, literal_column, or_, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.engine.spelling import FlagType
from agentdb.engine.statements import insert_into
from agentdb.execution.models import Workflow, WorkflowStatus, WorkflowVersion

_workflows: Final[Table] = Workflow.__table__  # type: ignore[assignment]
_versions: Final[Table] = WorkflowVersion.__table__  # type: ignore[assignment]

FROM: Final[dict[WorkflowStatus, tuple[WorkflowStatus, ...]]] = {
    WorkflowStatus.active: (WorkflowStatus.draft, WorkflowStatus.inactive),
    WorkflowStatus.inactive: (WorkflowStatus.active,),
    WorkflowStatus.archived: (WorkflowStatus.draft, WorkflowStatus.active, WorkflowStatus.inactive),
}
"""From which statuses each is reached."""

_LIVE: Final = (WorkflowStatus.draft, WorkflowStatus.active, WorkflowStatus.inactive)
_THIS: Final = _workflows.c.id == of(_workflows.c.id, "workflow_id")
_NOW: Final = of(_workflows.c.updated_at, "now")
_version: Final = of(_workflows.c.version, "expected_version")


def _is(*statuses: WorkflowStatus) -> ColumnElement[bool]:
    return _workflows.c.status.in_([literal_column(f"'{one}'", _workflows.c.status.type) for one in statuses])


def _move_plan(to: WorkflowStatus) -> Plan[Workflow]:
    statement = (
        update(_workflows)
        .where(_THIS, _is(*FROM[to]), or_(_version.is_(None), _workflows.c.version == _version))
        .values(status=literal_column(f"'{to}'"), updated_at=_NOW)
        .returning(_workflows)
    )
    return Plan(statement, name=f"workflows: {to}", rows=Workflow)


MOVE: Final = {to: _move_plan(to) for to in FROM}
CHANGEABLE: Final = ("name", "description", "definition")


@cache
def update_plan(columns: frozenset[str]) -> Plan[Workflow]:
    """Return the plan that changes columns of a workflow that is not archived; only a draft may have problems."""
    values: dict[str, Any] = {column: of(_workflows.c[column]) for column in sorted(columns)}
    if "definition" in columns:
        values["version"] = _workflows.c.version + 1
    statement = (
        update(_workflows)
        .where(
            _THIS,
            _workflows.c.version == _version,
            or_(_is(WorkflowStatus.draft), bindparam("valid", type_=FlagType())),
            _is(*_LIVE),
        )
        .values(**values, updated_at=_NOW)
        .returning(_workflows)
    )
    return Plan(statement, name="workflows.update", rows=Workflow)


# What executions may begin with is kept for them.
KEEP: Final = Plan[None](
    insert_into(_versions)
    .from_select(
        ["workflow_id", "version", "definition", "created_at"],
        select(_workflows.c.id, _workflows.c.version, _workflows.c.definition, _NOW).where(
            _THIS, _is(WorkflowStatus.active)
        ),
        include_defaults=False,
    )
    .on_conflict_do_nothing(index_elements=["workflow_id", "version"]),
    name="workflows: keep a version",
)
KEPT: Final = Plan[WorkflowVersion](
    select(WorkflowVersion).where(*(_versions.c[key] == of(_versions.c[key]) for key in ("workflow_id", "version"))),
    name="workflows.graph",
    rows=WorkflowVersion,
)
