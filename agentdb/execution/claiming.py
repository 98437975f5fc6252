"""How executions are claimed: the most urgent of a queue, by one worker each.

Claims pass by rows that another transaction has locked, so that workers never wait for each other; who has to know what
others have claimed at this moment takes turns with them (`queue_turn`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, func, literal_column, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every, one
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.queues import queue_turn, turn_number
from agentdb.execution.models import Execution, ExecutionStatus
from agentdb.execution.standing import NOW, executions, is_now, status

OF_QUEUE: Final = executions.c.queue == of(executions.c.queue)
WAITS: Final = (OF_QUEUE, is_now(ExecutionStatus.pending), executions.c.available_at <= NOW)
URGENCY: Final = (executions.c.priority.desc(), executions.c.available_at, executions.c.id)
LIMIT: Final = bindparam("limit", type_=WholeType())
ONE: Final[ColumnElement[int]] = literal_column("1")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a worker asks for.

    Attributes:
        worker: who asks.
        queue: of which queue.
        lease: how long each claim holds.
        fair: users take turns.
        most_running: how many of the queue may run at once; None: any number.
    """

    worker: str
    queue: str
    lease: timedelta
    fair: bool = False
    most_running: int | None = None

    @property
    def alone(self) -> bool:
        """Whether it must not be decided while others claim of the same queue."""
        return self.fair or self.most_running is not None

    def values(self, now: datetime) -> dict[str, Any]:
        """Return the parameters of a claim that is made now."""
        return {"queue": self.queue, "worker": self.worker, "lease_until": now + self.lease, "now": now}


def claimed(limit: Any, *conditions: ColumnElement[bool]) -> Any:
    """Return the UPDATE that claims the most urgent executions."""
    # Locked in a CTE of its own, which runs once: in a subquery the planner may ask for another batch per row.
    ready = (
        select(executions.c.id)
        .where(*WAITS, *conditions)
        .order_by(*URGENCY)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("ready")
    )
    # Of a single one, SQLite makes no table.
    chosen: Any = select(ready.c.id).scalar_subquery() if limit is ONE else ready.c.id
    return (
        update(executions)
        .where(executions.c.id == chosen)
        .values(
            status=status(ExecutionStatus.running),
            attempt=executions.c.attempt + 1,
            claimed_by=of(executions.c.claimed_by, "worker"),
            lease_expires_at=of(executions.c.lease_expires_at, "lease_until"),
            started_at=NOW,
            updated_at=NOW,
        )
        .returning(executions)
    )


CLAIM: Final = Plan[Execution](claimed(LIMIT), name="executions.claim", rows=Execution)
CLAIM_ONE: Final = Plan[Execution](claimed(ONE), name="executions.claim: one", rows=Execution)
_CLAIM_OF_USER: Final = Plan[Execution](
    claimed(LIMIT, executions.c.user_id == of(executions.c.user_id)),
    name="executions.claim: of a user",
    rows=Execution,
)
_TAKE_TURN: Final = Plan[None](queue_turn(), name="executions.claim: turn")
_RUNNING: Final = Plan[int](
    select(func.count()).select_from(executions).where(is_now(ExecutionStatus.running), OF_QUEUE),
    name="executions.claim: running",
)


def _turns_plan() -> Plan[int]:
    """Return who waits in a queue, who was served longest ago first: two look-ups for each, whatever waits."""
    first = select(func.min(executions.c.user_id).label("user_id")).where(*WAITS).cte("waiting", recursive=True)
    following = select(func.min(executions.c.user_id)).where(*WAITS, executions.c.user_id > first.c.user_id)
    waiting = first.union_all(select(following.scalar_subquery()).where(first.c.user_id.is_not(None)))
    served = (
        select(func.max(executions.c.started_at))
        .where(executions.c.user_id == waiting.c.user_id, OF_QUEUE)
        .scalar_subquery()
    )
    statement = select(waiting.c.user_id).where(waiting.c.user_id.is_not(None))
    return Plan(
        statement.order_by(served.asc().nulls_first(), waiting.c.user_id).limit(LIMIT), name="executions.claim: turns"
    )


_TURNS: Final = _turns_plan()


def in_order(rows: Iterable[Execution]) -> list[Execution]:
    """Return what was claimed, the most urgent first: RETURNING has no order."""
    return sorted(rows, key=lambda row: (-row.priority, row.available_at, row.id))


def claim(wish: Wish, limit: int, present: Callable[[], datetime]) -> Script[list[Execution]]:
    """Within a script: claim, in turns with others."""
    yield from one(_TAKE_TURN, number=turn_number(wish.queue))
    now = present()  # not before: who was served when says whose turn it is
    if wish.most_running is not None:
        running = (yield from one(_RUNNING, queue=wish.queue)) or 0
        limit = min(limit, wish.most_running - running)
    if limit < 1:
        return []
    if wish.fair:
        return (yield from _claim_in_turns(wish, limit, now))
    return in_order((yield from every(CLAIM, **wish.values(now), limit=limit)))


def _claim_in_turns(wish: Wish, limit: int, now: datetime) -> Script[list[Execution]]:
    """Give each user that waits one, and another, until there are enough."""
    taken: list[Execution] = []
    users: Sequence[int] = yield from every(_TURNS, queue=wish.queue, now=now, limit=limit)
    while users and len(taken) < limit:
        if len(users) == 1:
            rest = {"user_id": users[0], "limit": limit - len(taken)}
            return [*taken, *in_order((yield from every(_CLAIM_OF_USER, **wish.values(now), **rest)))]
        missing = limit - len(taken)
        calls = [{**wish.values(now), "user_id": user, "limit": 1} for user in users[:missing]]
        found = [row for row in (yield from each(_CLAIM_OF_USER, calls)) if row is not None]
        taken += found
        # Who was not asked comes first: of those who were, some may have had nothing left.
        users = [*users[missing:], *(row.user_id for row in found)]
    return taken
