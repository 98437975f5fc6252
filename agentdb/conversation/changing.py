"""How conversations are found by key, listed and changed: each a statement whose condition is the row's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, exists, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.conversation.living import LIVE, OWN
from agentdb.conversation.models import Conversation, Message
from agentdb.criteria import beyond
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_or_update, insert_unless_there
from agentdb.errors import BadInput

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_messages: Final[Table] = Message.__table__  # type: ignore[assignment]

_THIS: Final = _conversations.c.id == of(_conversations.c.id, "conversation_id")
_DELETED: Final = _conversations.c.deleted_at.is_not(None)

BY_KEY: Final = Plan[Conversation](
    select(Conversation).where(_conversations.c.key == of(_conversations.c.key), LIVE, OWN),
    name="conversations.by_key",
    rows=Conversation,
    point=True,
)
_ANY_BY_KEY: Final = Plan[Conversation](
    select(Conversation).where(_conversations.c.key == of(_conversations.c.key)),
    name="conversations.get_or_create: present",
    rows=Conversation,
)


_TRIES: Final = 3
# Columns of which more is to be kept than their value, and what keeps it.
_ELSEWHERE: Final = {
    "last_position": "messages.append()",
    "last_message_at": "messages.append()",
    "summary_message_id": "set_summary()",
}


def got_or_created(values: dict[str, Any]) -> Script[tuple[Conversation | None, bool]]:
    """Within a script: create a conversation, or find the one that has its key, deleted or not; None if it is hidden.

    One that is neither made nor found was purged in between, or is another user's, whom this one's view does not show.
    """
    for _ in range(_TRIES):
        created: Conversation | None = yield from one(insert_unless_there(Conversation, ("key",)), **values)
        if created is not None:
            return created, True
        present: Conversation | None = yield from one(_ANY_BY_KEY, key=values["key"])
        if present is not None:
            return present, False
    return None, False


def upsert_plan(on: tuple[str, ...], given: frozenset[str]) -> Plan[Conversation]:
    """Return the plan that adds a conversation, or changes the one that is there, unless deleted or another user's."""
    return insert_or_update(Conversation, on, given, ("user_id", *({"deleted_at"} - given)))


def check_own(values: Iterable[str], call: str) -> None:
    """Check that nothing is set that other calls keep.

    Raises: BadInput.
    """
    for name in values:
        if name in _ELSEWHERE:
            raise BadInput(f"conversations.{name} is not set by {call}; {_ELSEWHERE[name]} moves it")


def without_summary(row: Any) -> Any:
    """Return what a new conversation is given.

    Raises: BadInput for a summary, which would be of another conversation.
    """
    if isinstance(row, Mapping) and row.get("summary_message_id") is not None:
        raise BadInput("conversations.summary_message_id is a message of the conversation; set_summary() sets it")
    return row


@cache
def listing_plan(by: str, after: bool) -> Plan[Conversation]:
    """Return the plan of a page of a user's conversations, the latest first: deleted ones by when they were."""
    order = [_conversations.c[by], _conversations.c.id]
    shown: list[ColumnElement[bool]] = [_DELETED] if by == "deleted_at" else [LIVE]
    if by == "last_message_at":
        shown.append(_conversations.c.last_message_at.is_not(None))
    if after:
        shown.append(beyond(order, newest_first=True))
    statement = select(Conversation).where(_conversations.c.user_id == of(_conversations.c.user_id), *shown)
    statement = statement.order_by(*(column.desc() for column in order)).limit(bindparam("limit"))
    return Plan(statement, name=f"conversations by {by}", rows=Conversation)


def _changing(name: str, *conditions: Any, **values: Any) -> Plan[Conversation]:
    statement = update(_conversations).where(_THIS, OWN, *conditions).values(**values).returning(_conversations)
    return Plan(statement, name=f"conversations.{name}", rows=Conversation)


_NOW: Final = of(_conversations.c.deleted_at, "now")

RENAME: Final = _changing("rename", LIVE, title=of(_conversations.c.title))
DELETE: Final = _changing("delete", LIVE, deleted_at=_NOW)
RESTORE: Final = _changing("restore", _DELETED, deleted_at=None)

_summary: Final = of(_conversations.c.summary_message_id, "message_id")
_in_conversation: Final = exists(
    select(_messages.c.id).where(_messages.c.id == _summary, _messages.c.conversation_id == _conversations.c.id)
)
# By whether there is to be none.
SET_SUMMARY: Final = {
    False: _changing("set_summary", LIVE, _in_conversation, summary_message_id=_summary),
    True: _changing("set_summary", LIVE, summary_message_id=_summary),
}

DELETE_WITH_AGENT: Final = Plan[None](
    update(_conversations)
    .where(
        _conversations.c.user_id == of(_conversations.c.user_id),
        _conversations.c.agent_id == of(_conversations.c.agent_id),
        LIVE,
    )
    .values(deleted_at=_NOW),
    name="conversations.delete_with_agent",
)

PURGE: Final = Plan[None](delete(_conversations).where(_THIS, OWN, _DELETED), name="conversations.purge")

_OVERDUE: Final = _conversations.c.deleted_at < of(_conversations.c.deleted_at, "before")
# One that somebody restores right now is passed by.
# As a WITH, which is read once: PostgreSQL may run a subquery with a LIMIT again for every row it looks at.
_over: Final = (
    select(_conversations.c.id)
    .where(_OVERDUE, _DELETED)
    .order_by(_conversations.c.deleted_at, _conversations.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("over")
)
PURGE_BATCH: Final = Plan[None](
    delete(_conversations).where(_conversations.c.id.in_(select(_over.c.id))), name="conversations.purge_deleted"
)
