"""How an execution stands: the conditions that changes carry, and the error for a change that was refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, and_, case, literal_column, select
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError, BadInput, InvalidTransition, NotFound, StaleVersion, brief
from agentdb.execution.models import Execution, ExecutionStatus
from agentdb.execution.records import Claim

executions: Final[Table] = Execution.__table__  # type: ignore[assignment]

NOW: Final = of(executions.c.updated_at, "now")


def status(word: ExecutionStatus) -> ColumnElement[Any]:
    """Return a status as a literal: with a parameter, neither database would use a partial index."""
    return literal_column(f"'{word}'", executions.c.status.type)


def is_now(word: ExecutionStatus) -> ColumnElement[bool]:
    """Return the condition that an execution has a status."""
    return executions.c.status == status(word)


# A range, which no partial index serves. With statistics of a moment at which nothing ran, PostgreSQL would read the
# index of all that run instead of the key, and in it the entries of all that were claimed since.
RUNS: Final = executions.c.status.between(status(ExecutionStatus.running), status(ExecutionStatus.running))
# The claim is still the last one, and nothing has ended it.
HELD: Final = and_(
    executions.c.id == of(executions.c.id, "execution_id"),
    executions.c.attempt == of(executions.c.attempt, "held_attempt"),
    RUNS,
)


def unless_cancelled(otherwise: Any) -> Any:
    """Return the status of an execution that nobody works on any more: cancelled, where that was asked for."""
    asked = executions.c.cancel_requested.is_(literal_column("true"))
    return case((asked, status(ExecutionStatus.cancelled)), else_=otherwise)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an execution stands."""

    id: int
    status: ExecutionStatus
    attempt: int
    lease_expires_at: datetime | None
    cancel_requested: bool


STANDING: Final = Plan[Standing](
    select(
        executions.c.id,
        executions.c.status,
        executions.c.attempt,
        executions.c.lease_expires_at,
        executions.c.cancel_requested,
    ).where(executions.c.id == of(executions.c.id)),
    name="executions.standing",
    rows=Standing,
    point=True,
)


def shown(claim: Any) -> Claim:
    """Return a claim as it was given.

    Raises: BadInput for what is none.
    """
    if not isinstance(claim, Claim) or type(claim.id) is not int or type(claim.attempt) is not int:
        raise BadInput(f"a claim is what claim() returned, not {brief(claim)}")
    return claim


def held(claim: Claim) -> dict[str, int]:
    """Return the parameters of `HELD`.

    Raises: BadInput for what is no claim.
    """
    shown(claim)
    return {"execution_id": claim.id, "held_attempt": claim.attempt}


def holds(claim: Claim, standing: Standing | None) -> bool:
    """Tell whether a claim holds."""
    return standing is not None and standing.attempt == claim.attempt and standing.status is ExecutionStatus.running


def refused(claim: Claim, standing: Standing | None) -> AgentDBError:
    """Return the error for what a worker wanted to do with a claim that did not hold."""
    if standing is None:
        return unknown(claim.id)
    if standing.attempt != claim.attempt:
        return StaleVersion(
            f"execution {claim.id} was claimed again: attempt {claim.attempt} has lost it to attempt"
            f" {standing.attempt}; stop working on it"
        )
    if standing.status in {ExecutionStatus.pending, ExecutionStatus.running}:
        return StaleVersion(f"the claim of execution {claim.id} has ended, and another may take it; stop working on it")
    if standing.lease_expires_at is not None:
        return StaleVersion(f"the lease of execution {claim.id} had ended, and it is {standing.status}; stop working")
    return InvalidTransition(f"execution {claim.id} is {standing.status} already")


def unknown(execution_id: int) -> NotFound:
    """Return the error for an execution that is not there."""
    return NotFound(f"there is no execution {execution_id}")
