"""How an agent's session moves from one status to another, and what is added to it: each is one statement.

A running session may be paused, completed or failed; a paused one may run again, be completed or fail; a failed one may
run again; a completed one stays as it is.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, func, literal_column, null, or_, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.functions import later_of, merge_patch
from agentdb.engine.growing import appended, length_of, united
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.execution.models import AgentSession, AgentSessionStatus

_sessions: Final[Table] = AgentSession.__table__  # type: ignore[assignment]

FROM: Final[dict[AgentSessionStatus, tuple[AgentSessionStatus, ...]]] = {
    AgentSessionStatus.running: (AgentSessionStatus.paused, AgentSessionStatus.failed),
    AgentSessionStatus.paused: (AgentSessionStatus.running,),
    AgentSessionStatus.completed: (AgentSessionStatus.running, AgentSessionStatus.paused),
    AgentSessionStatus.failed: (AgentSessionStatus.running, AgentSessionStatus.paused),
}
"""From which statuses each is reached."""
LIVE: Final = (AgentSessionStatus.running, AgentSessionStatus.paused)

THIS: Final = _sessions.c.id == of(_sessions.c.id, "session_id")
# Of this user, where one is given.
OWN: Final = _sessions.c.user_id == func.coalesce(of(_sessions.c.user_id), _sessions.c.user_id)
_NOW: Final = of(_sessions.c.last_active_at, "now")


def marked(what: str, value: Any, now: datetime) -> dict[str, Any]:
    """Return what is kept of something together with its moment."""
    return {"at": now.isoformat(timespec="microseconds"), what: value}


def is_one_of(statuses: tuple[AgentSessionStatus, ...]) -> ColumnElement[bool]:
    """Return the condition that a session has one of these statuses, spelled so that a partial index serves it."""
    return _sessions.c.status.in_([literal_column(f"'{one}'", _sessions.c.status.type) for one in statuses])


@cache
def move_plan(to: AgentSessionStatus, *, checkpoint: bool, error: bool) -> Plan[AgentSession]:
    """Return the plan that moves a session to a status: no row where it may not be reached from the present one."""
    expected = of(_sessions.c.version, "expected_version")
    ended = to in (AgentSessionStatus.completed, AgentSessionStatus.failed)
    values: dict[str, Any] = {
        "status": of(_sessions.c.status, "to"),
        "version": _sessions.c.version + 1,
        "last_active_at": _moved_on(),
        "completed_at": of(_sessions.c.completed_at, "now") if ended else null(),
    }
    if checkpoint:
        values["checkpoints"] = appended(_sessions.c.checkpoints, of(_sessions.c.checkpoints, "checkpoint"))
    if error:
        values["error_logs"] = appended(_sessions.c.error_logs, of(_sessions.c.error_logs, "error"))
    statement = (
        update(_sessions)
        .where(THIS, OWN, is_one_of(FROM[to]), or_(expected.is_(None), _sessions.c.version == expected))
        .values(**values)
        .returning(_sessions)
    )
    return Plan(statement, name=f"agent_sessions: {to}", rows=AgentSession)


def _moved_on() -> ColumnElement[Any]:
    """Return the later of what is stored and now: of two processes whose clocks differ, the later one counts."""
    moment: ColumnElement[Any] = later_of(_sessions.c.last_active_at, _NOW)
    return moment


def _live(name: str, returning: Any, rows: Any = None, **values: Any) -> Plan[Any]:
    statement = (
        update(_sessions)
        .where(THIS, OWN, is_one_of(LIVE))
        .values(**values, last_active_at=_moved_on())
        .returning(returning)
    )
    return Plan(statement, name=f"agent_sessions.{name}", rows=rows)


CHECKPOINT: Final[Plan[int]] = _live(
    "checkpoint",
    length_of(_sessions.c.checkpoints),
    checkpoints=appended(_sessions.c.checkpoints, of(_sessions.c.checkpoints, "checkpoint")),
)
PATCH: Final[Plan[AgentSession]] = _live(
    "patch",
    _sessions,
    AgentSession,
    variables=merge_patch(_sessions.c.variables, of(_sessions.c.variables)),
    context=merge_patch(_sessions.c.context, of(_sessions.c.context)),
)
COUNT: Final[Plan[AgentSession]] = _live(
    "count",
    _sessions,
    AgentSession,
    messages_count=_sessions.c.messages_count + bindparam("messages", type_=WholeType()),
    tools_used=united(_sessions.c.tools_used, of(_sessions.c.tools_used, "tools")),
)

PRESENT: Final = Plan[AgentSession](
    select(AgentSession).where(THIS, OWN), name="agent_sessions: present", rows=AgentSession
)

_SILENT: Final = _sessions.c.last_active_at < of(_sessions.c.last_active_at, "before")
# One that somebody uses right now is passed by.
# As a WITH, which is read once: PostgreSQL may run a subquery with a LIMIT again for every row it looks at.
_silent: Final = (
    select(_sessions.c.id)
    .where(_SILENT, is_one_of(LIVE))
    .order_by(_sessions.c.last_active_at, _sessions.c.id)
    .limit(bindparam("limit", type_=WholeType()))
    .with_for_update(skip_locked=True, key_share=True)
    .cte("silent")
)
EXPIRE: Final = Plan[int](
    update(_sessions)
    .where(_sessions.c.id.in_(select(_silent.c.id)))
    .values(
        status=of(_sessions.c.status, "to"),
        version=_sessions.c.version + 1,
        completed_at=of(_sessions.c.completed_at, "now"),
        error_logs=appended(_sessions.c.error_logs, of(_sessions.c.error_logs, "error")),
    )
    .returning(_sessions.c.id),
    name="agent_sessions.expire",
)
