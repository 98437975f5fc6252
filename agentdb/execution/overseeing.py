"""What is done to executions from without: asking them to stop, trying them again, saving and removing them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, case, delete, literal, literal_column, null, or_, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.functions import greater_of
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import TextType
from agentdb.execution.claiming import LIMIT
from agentdb.execution.models import Execution, ExecutionStatus
from agentdb.execution.records import Rescued
from agentdb.execution.standing import NOW, executions, is_now, status, unless_cancelled

_THE_ONE: Final = executions.c.id == of(executions.c.id, "execution_id")
_pending: Final = is_now(ExecutionStatus.pending)

# One that waits is cancelled at once; the worker of one that runs is asked, and hears it at its heartbeat.
CANCEL: Final = Plan[ExecutionStatus](
    update(executions)
    .where(_THE_ONE, or_(_pending, is_now(ExecutionStatus.running)))
    .values(
        status=case((_pending, status(ExecutionStatus.cancelled)), else_=executions.c.status),
        completed_at=case((_pending, NOW), else_=null()),
        cancel_requested=literal_column("true"),
        updated_at=NOW,
    )
    .returning(executions.c.status),
    name="executions.cancel",
)
RETRY: Final = Plan[Execution](
    update(executions)
    .where(_THE_ONE, is_now(ExecutionStatus.failed))
    .values(
        status=status(ExecutionStatus.pending),
        max_attempts=greater_of(
            executions.c.max_attempts, executions.c.attempt + bindparam("attempts", type_=WholeType())
        ),
        available_at=NOW,
        cancel_requested=literal_column("false"),
        claimed_by=null(),
        lease_expires_at=null(),
        error=null(),
        completed_at=null(),
        updated_at=NOW,
    )
    .returning(executions),
    name="executions.retry",
    rows=Execution,
)

_LEASE_ENDED: Final = "the lease of the last attempt ended without a word from its worker"


def _rescue_plan() -> Plan[Rescued]:
    # Whoever is finishing one of these at this moment keeps it: it is passed by.
    overdue = (
        select(executions.c.id)
        .where(is_now(ExecutionStatus.running), executions.c.lease_expires_at <= NOW)
        .order_by(executions.c.lease_expires_at)
        .limit(LIMIT)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("overdue")
    )
    used_up = executions.c.attempt >= executions.c.max_attempts
    asked = executions.c.cancel_requested.is_(literal_column("true"))
    ends = or_(used_up, asked)

    def when(condition: ColumnElement[bool], then: Any, otherwise: Any) -> Any:
        return case((condition, then), else_=otherwise)

    failed, waits = status(ExecutionStatus.failed), status(ExecutionStatus.pending)
    statement = (
        update(executions)
        .where(executions.c.id == overdue.c.id)
        .values(
            status=unless_cancelled(when(used_up, failed, waits)),
            error=when(used_up, literal(_LEASE_ENDED, TextType()), executions.c.error),
            available_at=NOW,
            claimed_by=when(ends, executions.c.claimed_by, null()),
            lease_expires_at=when(ends, executions.c.lease_expires_at, null()),
            completed_at=when(ends, NOW, null()),
            updated_at=NOW,
        )
        .returning(executions.c.id, executions.c.attempt, executions.c.status)
    )
    return Plan(statement, name="executions.rescue", rows=Rescued)


RESCUE: Final = _rescue_plan()


def _prune_plan() -> Plan[int]:
    over = (
        select(executions.c.id)
        .where(
            executions.c.completed_at.is_not(None), executions.c.completed_at < of(executions.c.completed_at, "before")
        )
        .order_by(executions.c.completed_at)
        .limit(LIMIT)
        .with_for_update(skip_locked=True)
        .cte("over")
    )
    statement = delete(executions).where(executions.c.id.in_(select(over.c.id))).returning(executions.c.id)
    return Plan(statement, name="executions.prune")


PRUNE: Final = _prune_plan()


def dead_letters_plan(*, after: bool) -> Plan[Execution]:
    """Return the plan that lists what failed for good in a queue, the newest first."""
    statement = select(Execution).where(executions.c.queue == of(executions.c.queue), is_now(ExecutionStatus.failed))
    if after:
        statement = statement.where(executions.c.id < of(executions.c.id, "after_0"))
    return Plan(statement.order_by(executions.c.id.desc()).limit(LIMIT), name="executions.dead_letters", rows=Execution)


DEAD_LETTERS: Final = {after: dead_letters_plan(after=after) for after in (False, True)}
