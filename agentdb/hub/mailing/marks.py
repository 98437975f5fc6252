"""What a user does with their own rows: read, put away, take out again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.errors import NotFound
from agentdb.hub.mailing.letters import ME, RECEIVED, recipients

_THESE: Final = among(recipients.c.message_id, "ids")
_NOW: Final = of(recipients.c.updated_at, "now")


def _locked(column: ColumnElement[Any], *conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the SELECT that locks a user's rows in the order of their messages: two who do never wait in a ring."""
    return (
        select(column)
        .where(recipients.c.user_id == ME, *conditions)
        .order_by(recipients.c.message_id)
        .with_for_update()
    )


def _change(name: str, values: dict[str, Any], *conditions: ColumnElement[bool]) -> Plan[int]:
    """Return the plan that changes the rows that meet the conditions still when they are locked."""
    rows = _locked(recipients.c.id, *conditions).correlate(None)
    statement = update(recipients).where(recipients.c.id.in_(rows), *conditions).values(**values, updated_at=_NOW)
    return Plan(statement.returning(recipients.c.message_id), name=f"mail.{name}")


_FRESH: Final = recipients.c.archived_at.is_(None)
READ: Final = _change("mark_read", {"read_at": _NOW}, _THESE, recipients.c.read_at.is_(None), RECEIVED)
ARCHIVE_ALL: Final = _change("archive_all", {"archived_at": _NOW}, recipients.c.kind == of(recipients.c.kind), _FRESH)
_MINE: Final = Plan[int](_locked(recipients.c.message_id, _THESE), name="mail.archive: own")
_ARCHIVE: Final = _change("archive", {"archived_at": _NOW}, _THESE, _FRESH)
_UNARCHIVE: Final = _change("unarchive", {"archived_at": None}, _THESE, recipients.c.archived_at.is_not(None))


def put_away(user_id: int, ids: Sequence[int], now: datetime, *, away: bool) -> Script[list[int]]:
    """Archive messages, or take them out again: all of them or none."""
    mine = yield from every(_MINE, user_id=user_id, ids=ids)
    strange = sorted(set(ids).difference(mine))
    if strange:
        told = ", ".join(map(str, strange[:10]))
        raise NotFound(f"user {user_id} has no message {told}; nothing was {'archived' if away else 'unarchived'}")
    changed = yield from every(_ARCHIVE if away else _UNARCHIVE, user_id=user_id, ids=ids, now=now)
    return sorted(changed)
