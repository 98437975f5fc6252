"""How a worker lets go of an execution: each change carries the claim in its own condition, and decides by itself.

A statement that changes many rows passes by those that are locked at this moment, so that it never waits while it holds
locks; whoever was passed by is asked again alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, case, literal_column, null, select, union_all, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.functions import among
from agentdb.engine.lists import listed
from agentdb.engine.plan import Plan, Together
from agentdb.engine.quantities import MomentType, WholeType
from agentdb.engine.spelling import FlagType, JsonType
from agentdb.engine.statements import given_arrays
from agentdb.execution.claiming import LIMIT, claimed
from agentdb.execution.models import Execution, ExecutionStatus
from agentdb.execution.records import Claim
from agentdb.execution.standing import HELD, NOW, RUNS, executions, shown, status, unless_cancelled


@dataclass(frozen=True, slots=True)
class Heard:
    """A claim whose lease a heartbeat extended."""

    id: int
    attempt: int
    cancel_requested: bool


_CANCELLED: Final = status(ExecutionStatus.cancelled)
_PENDING: Final = status(ExecutionStatus.pending)
_FAILED: Final = status(ExecutionStatus.failed)
_asked: Final = executions.c.cancel_requested.is_(literal_column("true"))
_used_up: Final = executions.c.attempt >= executions.c.max_attempts


def _completed(output: Any, now: Any) -> dict[str, Any]:
    return {
        "status": status(ExecutionStatus.completed),
        "output": output,
        "error": null(),
        "lease_expires_at": null(),
        "completed_at": now,
        "updated_at": now,
    }


def _complete_plan() -> Plan[int]:
    single = (
        update(executions).where(HELD).values(**_completed(of(executions.c.output), NOW)).returning(executions.c.id)
    )
    given = given_arrays(output=JsonType(), now=MomentType(), execution_id=WholeType(), held_attempt=WholeType())
    locked = _locked(given, given.c.ordinal, given.c.output, given.c.now)
    together = (
        update(executions)
        .where(executions.c.id == locked.c.id)
        .values(**_completed(locked.c.output, locked.c.now))
        .returning(executions.c.id, locked.c.ordinal)
    )
    return Plan(single, name="executions.complete", together=Together(together, passes_by=True))


def _locked(given: Any, *columns: Any) -> Any:
    """Lock those of the given claims that hold, and that nobody else has locked."""
    mine = and_(executions.c.id == given.c.execution_id, executions.c.attempt == given.c.held_attempt)
    return (
        select(executions.c.id, *columns)
        .join_from(executions, given, mine)
        .where(RUNS)
        .order_by(executions.c.id)
        .with_for_update(skip_locked=True, key_share=True, of=executions)
        .cte("locked")
    )


COMPLETE: Final = _complete_plan()


def _complete_and_claim_plan() -> Plan[Execution]:
    """Finish some executions, and claim others: of the finished, no more comes back than which they are."""
    given = given_arrays(output=JsonType(), execution_id=WholeType(), held_attempt=WholeType())
    locked = _locked(given, given.c.output)
    done = (
        update(executions)
        .where(executions.c.id == locked.c.id)
        .values(**_completed(locked.c.output, NOW))
        .returning(executions.c.id, executions.c.attempt, executions.c.status)
        .cte("done")
    )
    more = claimed(LIMIT).cte("more")
    plain = [done.c.get(column.name, null().label(column.name)) for column in executions.columns]
    both = union_all(select(*(more.c[column.name] for column in executions.columns)), select(*plain)).subquery("both")
    return Plan(select(*both.c), name="executions.complete_and_claim", rows=Execution)


COMPLETE_AND_CLAIM: Final = _complete_and_claim_plan()

_no_more: Final = case((bindparam("retry", type_=FlagType()), _used_up), else_=literal_column("true"))


def _let_go(then: ColumnElement[Any], ends: ColumnElement[bool], **changes: Any) -> Any:
    """Return the changes of an execution that its worker does not go on with."""
    over = case((_asked, literal_column("true")), else_=ends)
    return {
        "status": unless_cancelled(then),
        "completed_at": case((over, NOW), else_=null()),
        "updated_at": NOW,
        **changes,
    }


# It ends when it may not be tried again, or when somebody wanted it to be cancelled.
FAIL: Final = Plan[ExecutionStatus](
    update(executions)
    .where(HELD)
    .values(
        _let_go(
            case((_no_more, _FAILED), else_=_PENDING),
            _no_more,
            error=of(executions.c.error),
            available_at=of(executions.c.available_at),
            claimed_by=case((_no_more, executions.c.claimed_by), else_=null()),
            lease_expires_at=null(),
        )
    )
    .returning(executions.c.status),
    name="executions.fail",
)


def _mine(*conditions: Any) -> Select[Any]:
    """Return the ids of the claims that hold, of those listed, locked but for those that others have locked."""
    ids, attempts = listed("execution_id", WholeType()), listed("held_attempt", WholeType())
    return (
        select(executions.c.id)
        .join_from(executions, ids, ids.c.value == executions.c.id)
        .join(attempts, and_(attempts.c.place == ids.c.place, attempts.c.value == executions.c.attempt))
        .where(RUNS, among(executions.c.id, "execution_id"), *conditions)
        .order_by(executions.c.id)
        .with_for_update(skip_locked=True, key_share=True, of=executions)
    )


def _of_mine(name: str, changes: Any, *returned: Any, **plan: Any) -> Plan[Any]:
    mine = _mine().cte("mine")
    statement = update(executions).where(executions.c.id == mine.c.id).values(changes).returning(*returned)
    return Plan(statement, name=name, **plan)


# Given back, an attempt is not used up: one more may be made.
_GIVEN_BACK: Final = _let_go(
    _PENDING,
    literal_column("false"),
    max_attempts=executions.c.max_attempts + 1,
    available_at=NOW,
    claimed_by=null(),
    lease_expires_at=null(),
)
RELEASE_MANY: Final[Plan[int]] = _of_mine("executions.release: many", _GIVEN_BACK, executions.c.id)
RELEASE: Final = Plan[ExecutionStatus](
    update(executions).where(HELD).values(_GIVEN_BACK).returning(executions.c.status), name="executions.release"
)
STOP: Final = Plan[int](
    update(executions)
    .where(HELD, _asked)
    .values(status=_CANCELLED, lease_expires_at=null(), completed_at=NOW, updated_at=NOW)
    .returning(executions.c.id),
    name="executions.stop",
)

_PROLONGED: Final = {"lease_expires_at": of(executions.c.lease_expires_at, "lease_until"), "updated_at": NOW}
HEARTBEATS: Final[Plan[Heard]] = _of_mine(
    "executions.heartbeat",
    _PROLONGED,
    executions.c.id,
    executions.c.attempt,
    executions.c.cancel_requested,
    rows=Heard,
    apart=True,
)
HEARTBEAT: Final = Plan[bool](
    update(executions).where(HELD).values(_PROLONGED).returning(executions.c.cancel_requested),
    name="executions.heartbeat: one",
)


def by_claim(claims: Sequence[Claim]) -> dict[str, list[int]]:
    """Return claims as the two lists that statements about many take.

    Raises: BadInput for what is no claim.
    """
    for claim in claims:
        shown(claim)
    return {"execution_id": [claim.id for claim in claims], "held_attempt": [claim.attempt for claim in claims]}
