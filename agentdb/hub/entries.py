"""How entries are appended to the log, with the counts and pointers that tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Table, bindparam, func, insert, literal_column, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every, one
from agentdb.engine.functions import among, greater_of, writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.statements import given_arrays, insert_into, insert_one
from agentdb.errors import BadInput, MissingReference
from agentdb.hub.models.machines import ContextLog, RunSession, UserNotification
from agentdb.hub.models.mail import Attachment, AttachmentPurpose

_logs: Final[Table] = ContextLog.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]
_files: Final[Table] = Attachment.__table__  # type: ignore[assignment]
_notifications: Final[Table] = UserNotification.__table__  # type: ignore[assignment]

ENTRY: Final[list[Column[Any]]] = [
    _logs.c[key] for key in ("host_id", "role", "source", "type", "message", "attachment_id", "created_at")
]
FIELDS: Final = frozenset(column.key for column in ENTRY)


def _count(lines: Any, latest: Any) -> Any:
    """Return the update that counts a session's lines and moves its pointer forward."""
    now = of(_sessions.c.last_active, "now")
    return (
        update(_sessions)
        .where(_sessions.c.id == bindparam("run_session_id"))
        .values(
            total_lines=_sessions.c.total_lines + lines,
            latest_log_id=greater_of(_sessions.c.latest_log_id, latest),
            latest_tx=greater_of(_sessions.c.latest_tx, writing_transaction()),
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
    given = given_arrays(**{column.key: column.type for column in ENTRY})
    # Locked before ids are drawn: of one session, whoever reads "after" an id never misses a smaller one. A transaction
    # may have been numbered before it got the lock, and behind one of a higher number: the higher is taken, so that
    # followers, who read by tx, see the session's entries in their order. It is safe, as they only see them later.
    locked = (
        select(_sessions.c.id, _sessions.c.latest_tx)
        .where(_sessions.c.id == bindparam("run_session_id"))
        .with_for_update()
        .cte("locked")
    )
    tx = greater_of(locked.c.latest_tx, writing_transaction())
    rows = select(locked.c.id, tx, *(given.c[c.key] for c in ENTRY)).select_from(
        given.join(locked, literal_column("true"))
    )
    stored = (
        insert(_logs)
        .from_select(
            ["run_session_id", "tx", *(column.key for column in ENTRY)],
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


APPEND: Final = _append_plan()
_COUNT: Final = Plan[int](_count(bindparam("lines"), bindparam("latest")), name="logs.append: session")
_NOTIFY: Final = Plan[None](
    _notify(of(_notifications.c.user_id), of(_notifications.c.latest_log_id, "latest")), name="logs.append: user"
)


# Locked before ids are drawn, as by `APPEND`.
_OWNER: Final = Plan[int](
    select(_sessions.c.user_id).where(_sessions.c.id == bindparam("run_session_id")).with_for_update(),
    name="logs.append: owner",
)
# Held, so that none is collected before it is attached.
_FILES: Final = Plan[Attachment](
    select(Attachment)
    .where(among(_files.c.id, "ids"))
    .order_by(_files.c.id)
    .with_for_update(read=True, key_share=True),
    name="logs.append: attachments",
    rows=Attachment,
)


def _check_files(run_session_id: int, given: Sequence[Mapping[str, Any]]) -> Script[None]:
    """Lock the session, and refuse files that are not there, or not for the log: mail stays among its readers."""
    ids = sorted({entry["attachment_id"] for entry in given if entry.get("attachment_id") is not None})
    if not ids:
        return
    yield from one(_OWNER, run_session_id=run_session_id)
    files = yield from every(_FILES, ids=ids)
    purposes = {file.id: file.purpose for file in files}
    for file_id in ids:
        if file_id not in purposes:
            raise MissingReference(
                f"there is no attachment {file_id}; upload it first",
                constraint="fk_context_log__attachment_id",
            )
        if purposes[file_id] is not AttachmentPurpose.context:
            raise BadInput(f"attachment {file_id} was not uploaded for the log; upload it with purpose 'context'")


def append_steps(
    run_session_id: int, given: list[dict[str, Any]], lines: int, now: datetime
) -> Script[list[ContextLog]]:
    """Within a script: store entries, count them, and move both pointers."""
    yield from _check_files(run_session_id, given)
    stored = yield from each(insert_one(ContextLog), [{**entry, "run_session_id": run_session_id} for entry in given])
    logs = [log for log in stored if log is not None]
    latest = logs[-1].id
    user_id = yield from one(_COUNT, run_session_id=run_session_id, lines=lines, latest=latest, now=now)
    yield from one(_NOTIFY, user_id=user_id, latest=latest, now=now)
    return logs
