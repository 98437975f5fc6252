"""The context log: what runs said and saw, appended with the counters that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Table, bindparam, func, insert, literal_column, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, one
from agentdb.engine.functions import greater_of, writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.statements import given_arrays, insert_into, insert_one
from agentdb.errors import BadInput, MissingReference
from agentdb.hub.models.machines import ContextLog, RunSession, UserNotification
from agentdb.repository import Repository, capped

_logs: Final[Table] = ContextLog.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]
_notifications: Final[Table] = UserNotification.__table__  # type: ignore[assignment]

_ENTRY: Final[list[Column[Any]]] = [
    _logs.c[key] for key in ("host_id", "role", "source", "type", "message", "attachment_id", "created_at")
]
_FIELDS: Final = frozenset(column.key for column in _ENTRY)


def _count(lines: Any, latest: Any) -> Any:
    """Return the update that counts a session's lines and moves its pointer forward."""
    now = of(_sessions.c.last_active, "now")
    return (
        update(_sessions)
        .where(_sessions.c.id == bindparam("run_session_id"))
        .values(
            total_lines=_sessions.c.total_lines + lines,
            latest_log_id=greater_of(_sessions.c.latest_log_id, latest),
            last_active=now,
            updated_at=now,
        )
        .returning(_sessions.c.user_id)
    )


def _notify(user_id: Any, latest: Any) -> Any:
    """Return the upsert that moves the user's pointer forward: it never goes back, whoever commits last."""
    now = of(_sessions.c.last_active, "now")
    names = ["user_id", "latest_log_id", "last_active", "created_at", "updated_at"]
    given = insert_into(_notifications)
    given = given.from_select(
        names, select(user_id, latest, now, now, now).where(literal_column("true")), include_defaults=False
    )
    return given.on_conflict_do_update(
        index_elements=["user_id"],
        set_={
            "latest_log_id": greater_of(_notifications.c.latest_log_id, given.excluded.latest_log_id),
            "last_active": given.excluded.last_active,
            "updated_at": given.excluded.updated_at,
            "tx": writing_transaction(),
        },
    )


def _append_plan() -> Plan[ContextLog]:
    """Store entries, count them, and move both pointers, in one statement."""
    given = given_arrays(**{column.key: column.type for column in _ENTRY})
    # Locked before ids are drawn: of one session, whoever reads "after" an id never misses a smaller one.
    locked = select(_sessions.c.id).where(_sessions.c.id == bindparam("run_session_id")).with_for_update().cte("locked")
    rows = select(locked.c.id, *(given.c[c.key] for c in _ENTRY)).select_from(
        given.join(locked, literal_column("true"))
    )
    stored = (
        insert(_logs)
        .from_select(
            ["run_session_id", *(column.key for column in _ENTRY)],
            rows.order_by(literal_column("given.ordinal")),
            include_defaults=False,
        )
        .returning(_logs)
        .cte("stored")
    )
    latest = select(func.max(stored.c.id)).scalar_subquery()
    counted = _count(bindparam("lines"), latest).cte("counted")
    noticed = _notify(counted.c.user_id, latest).cte("noticed")
    statement = select(*(stored.c[column.key] for column in _logs.columns)).order_by(stored.c.id).add_cte(noticed)
    return Plan(statement, name="logs.append", rows=ContextLog)


_APPEND: Final = _append_plan()
_COUNT: Final = Plan[int](_count(bindparam("lines"), bindparam("latest")), name="logs.append: session")
_NOTIFY: Final = Plan[None](
    _notify(of(_notifications.c.user_id), of(_notifications.c.latest_log_id, "latest")), name="logs.append: user"
)


def _window(name: str, *conditions: Any, newest: bool) -> Plan[ContextLog]:
    statement = select(ContextLog).where(ContextLog.run_session_id == bindparam("run_session_id"), *conditions)
    order = ContextLog.id.desc() if newest else ContextLog.id.asc()
    return Plan(statement.order_by(order).limit(bindparam("limit")), name=f"logs.{name}", rows=ContextLog)


_AFTER: Final = _window("after", ContextLog.id > bindparam("after"), newest=False)
_BEFORE: Final = _window("before", ContextLog.id < bindparam("before"), newest=True)
_LATEST: Final = _window("latest", newest=True)


class Logs(Repository[ContextLog]):
    """What runs said and saw."""

    model = ContextLog

    async def append(self, session: RunSession | int, entries: Iterable[Mapping[str, Any]]) -> list[ContextLog]:
        """Append entries to a session's log, all or none, and return them in their order.

        The session's line count and pointer, and its user's, move in the same statement; pointers only move forward.

        Args:
            session: a session of a run, or its id.
            entries: each with ``role`` and ``message``; ``source``, ``type``, ``attachment_id`` and ``host_id`` (the
                session's own when absent) as wanted.

        Raises: MissingReference when there is no such session, host or attachment; BadInput for an unknown field.
        Cost: one statement (on SQLite one hop and one transaction).
        """
        run_session_id, host_id = (session.id, session.host_id) if isinstance(session, RunSession) else (session, None)
        now = self.connection.now()
        given = [self._entry(entry, host_id, now) for entry in entries]
        if not given:
            raise BadInput("no entry to append")
        lines = sum(entry["message"].count("\n") + 1 for entry in given)
        if not self.connection.chains:
            return await self.connection.run(lambda: _append_steps(run_session_id, given, lines, now))
        columns = {column.key: [entry.get(column.key) for entry in given] for column in _ENTRY}
        stored = await self.connection.fetch_all(
            _APPEND, {**columns, "run_session_id": run_session_id, "lines": lines, "now": now}
        )
        if not stored:
            raise MissingReference(
                f"context_log: no row of run_session for run_session_id '{run_session_id}'; add it first",
                constraint="fk_context_log__run_session_id",
            )
        return stored

    @staticmethod
    def _entry(entry: Mapping[str, Any], host_id: int | None, now: datetime) -> dict[str, Any]:
        unknown = ", ".join(sorted(set(entry) - _FIELDS))
        if unknown:
            raise BadInput(f"a log entry has no {unknown}; it has {', '.join(sorted(_FIELDS))}")
        if not isinstance(entry.get("message"), str):
            raise BadInput("a log entry needs a message, which is text")
        return {"host_id": host_id, "created_at": now, **entry}

    async def after(self, run_session_id: int, log_id: int, *, limit: int = 100) -> list[ContextLog]:
        """Return the entries of a session that follow an entry, oldest first."""
        values = {"run_session_id": run_session_id, "after": log_id, "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(_AFTER, values)

    async def before(self, run_session_id: int, log_id: int, *, limit: int = 100) -> list[ContextLog]:
        """Return the entries of a session that precede an entry, newest first."""
        values = {"run_session_id": run_session_id, "before": log_id, "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(_BEFORE, values)

    async def latest(self, run_session_id: int, *, limit: int = 100) -> list[ContextLog]:
        """Return the last entries of a session, newest first."""
        values = {"run_session_id": run_session_id, "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(_LATEST, values)


def _append_steps(
    run_session_id: int, given: list[dict[str, Any]], lines: int, now: datetime
) -> Script[list[ContextLog]]:
    stored = yield from each(insert_one(ContextLog), [{**entry, "run_session_id": run_session_id} for entry in given])
    logs = [log for log in stored if log is not None]
    latest = logs[-1].id
    user_id = yield from one(_COUNT, run_session_id=run_session_id, lines=lines, latest=latest, now=now)
    yield from one(_NOTIFY, user_id=user_id, latest=latest, now=now)
    return logs
