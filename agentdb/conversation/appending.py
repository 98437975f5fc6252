"""Appending: a message's position comes from the update of its conversation's own row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Table, bindparam, func, insert, literal_column, select, update

from agentdb.conversation.contents import checked, counted, described
from agentdb.conversation.living import LIVE, OWN
from agentdb.conversation.models import Conversation, Message
from agentdb.engine.asked import whole_numbers
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every, one
from agentdb.engine.functions import among, later_of
from agentdb.engine.plan import Plan, Together
from agentdb.engine.statements import given_arrays, insert_one
from agentdb.errors import BadInput, MissingReference

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_messages: Final[Table] = Message.__table__  # type: ignore[assignment]

_GIVEN: Final[list[Column[Any]]] = [
    _messages.c[key]
    for key in (
        "conversation_id",
        "parent_id",
        "role",
        "content",
        "name",
        "tool_call_id",
        "metadata",
        "tokens",
        "created_at",
        "updated_at",
    )
]
_NAMES: Final = [column.key for column in _GIVEN]
_STORED: Final = ["conversation_id", "position", *_NAMES[1:]]


# What a caller may ask of the conversation's row: conditions of its own update, which a writer that waited for another
# looks at again. In a subquery they would be looked at once, before the wait.
_EXPECTED: Final = _conversations.c.last_position == func.coalesce(
    of(_conversations.c.last_position, "expected_position"), _conversations.c.last_position
)
_GUARDS: Final = (OWN, _EXPECTED)


def _append_plan(*guards: Any) -> Plan[Message]:
    """Move the conversation's last position and store the message at it, in one statement.

    Together: each conversation is moved once, by as many places as it has messages. One that somebody else has locked
    is passed by, so that it holds up no append to another; its messages are then appended alone.
    """
    # The position is taken first in the text, so that parameters are numbered as the joined statement numbers them.
    moved = (
        update(_conversations)
        .where(_conversations.c.id == of(_messages.c.conversation_id), LIVE, *guards)
        .values(
            last_position=_conversations.c.last_position + 1,
            last_message_at=later_of(_conversations.c.last_message_at, of(_messages.c.created_at)),
            updated_at=of(_messages.c.created_at),
        )
        .returning(_conversations.c.id, _conversations.c.last_position)
        .cte("moved")
    )
    values = select(moved.c.id, moved.c.last_position, *(of(given).label(given.key) for given in _GIVEN[1:]))
    single = insert(_messages).from_select(_STORED, values, include_defaults=False)
    return Plan(
        single,
        name="messages.append",
        rows=Message,
        columns=_NAMES,
        echo=[_messages.c.id, _messages.c.position],
        together=None if guards else Together(_append_together(), passes_by=True),
    )


def _append_together() -> Any:
    source = given_arrays(**{given.key: given.type for given in _GIVEN})
    given = select(*(source.c[name] for name in _NAMES), literal_column("given.ordinal").label("ordinal")).select_from(
        source
    )
    given_rows = given.cte("calls")
    counted = (
        select(
            given_rows.c.conversation_id,
            func.count().label("many"),
            func.max(given_rows.c.created_at).label("latest"),
        )
        .group_by(given_rows.c.conversation_id)
        .cte("counted")
    )
    locked = (
        select(_conversations.c.id)
        .where(_conversations.c.id.in_(select(counted.c.conversation_id)), LIVE)
        .order_by(_conversations.c.id)
        .with_for_update(skip_locked=True)
        .cte("locked")
    )
    moved = (
        update(_conversations)
        .where(_conversations.c.id == counted.c.conversation_id, _conversations.c.id == locked.c.id)
        .values(
            last_position=_conversations.c.last_position + counted.c.many,
            last_message_at=later_of(_conversations.c.last_message_at, counted.c.latest),
            updated_at=counted.c.latest,
        )
        .returning(_conversations.c.id, (_conversations.c.last_position - counted.c.many).label("before"))
        .cte("moved")
    )
    ordinal = given_rows.c.ordinal
    place = func.row_number().over(partition_by=given_rows.c.conversation_id, order_by=ordinal)
    placed = (
        select(*(given_rows.c[name] for name in _NAMES), (moved.c.before + place).label("position"), ordinal)
        .join(moved, moved.c.id == given_rows.c.conversation_id)
        .cte("placed")
    )
    stored = (
        insert(_messages)
        .from_select(_STORED, select(*(placed.c[name] for name in _STORED)), include_defaults=False)
        .returning(_messages.c.id, _messages.c.conversation_id, _messages.c.position)
        .cte("stored")
    )
    return select(stored.c.id, stored.c.position, placed.c.ordinal).join(
        placed,
        (placed.c.conversation_id == stored.c.conversation_id) & (placed.c.position == stored.c.position),
    )


APPEND: Final = _append_plan()
APPEND_IF: Final = _append_plan(*_GUARDS)

_MOVE: Final = Plan[int](
    update(_conversations)
    .where(_conversations.c.id == bindparam("conversation_id"), LIVE, *_GUARDS)
    .values(
        last_position=_conversations.c.last_position + bindparam("many"),
        last_message_at=later_of(_conversations.c.last_message_at, of(_messages.c.created_at, "now")),
        updated_at=of(_messages.c.created_at, "now"),
    )
    .returning(_conversations.c.last_position),
    name="messages.append: conversation",
)

_IN_CONVERSATION: Final = Plan[int](
    select(_messages.c.id).where(
        _messages.c.conversation_id == bindparam("conversation_id"), among(_messages.c.id, "ids")
    ),
    name="messages.append: parents",
)

_ORIGINAL: Final = Plan[Message](
    select(Message).where(
        _messages.c.id == bindparam("message_id"),
        _messages.c.conversation_id == _conversations.c.id,
        LIVE,
        OWN,
    ),
    name="messages.edit: original",
    rows=Message,
)


def complete(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a caller says of a message, checked.

    Raises: BadInput for what is no message, content that is neither a text nor blocks, and what only appending gives.
    """
    if not isinstance(message, Mapping):
        raise BadInput(f"a message is an object with a role and a content, not {type(message).__name__}")
    given = dict(message)
    for name in ("id", "position", "conversation_id"):
        if name in given:
            raise BadInput(f"messages.{name} is given by appending; leave it out")
    given["content"] = checked(given.get("content"))
    given["metadata"] = described(given.get("metadata"))
    given["tokens"] = counted(given.get("tokens"))
    return given


def guards(user_id: int | None, expected_position: int | None) -> dict[str, int | None]:
    """Return what a caller asks of the conversation's row; None asks for nothing."""
    return {"user_id": user_id, "expected_position": expected_position}


def appended(
    conversation_id: int, given: Sequence[Mapping[str, Any]], asked: Mapping[str, Any], now: datetime
) -> Script[list[Message] | None]:
    """Within a script: append messages that are checked, or return None when the conversation's row refuses."""
    last = yield from one(_MOVE, conversation_id=conversation_id, many=len(given), now=now, **asked)
    if last is None:
        return None
    yield from _check_parents(conversation_id, given)
    rows = [
        {"created_at": now, "updated_at": now, **values, "conversation_id": conversation_id, "position": position}
        for position, values in enumerate(given, last - len(given) + 1)
    ]
    stored = yield from each(insert_one(Message), rows)
    return [message for message in stored if message is not None]


def edited(message_id: int, user_id: int | None, changes: Mapping[str, Any], now: datetime) -> Script[Message | None]:
    """Within a script: append what a message should have said beside it, or return None when it is not shown."""
    original = yield from one(_ORIGINAL, message_id=message_id, user_id=user_id)
    if original is None:
        return None
    values = {
        "role": original.role,
        "name": original.name,
        "tool_call_id": original.tool_call_id,
        "parent_id": original.parent_id,
        "metadata": original.metadata_,
        **changes,
    }
    values["metadata"] = {**values["metadata"], "edited_from": message_id}
    stored = yield from appended(original.conversation_id, [values], guards(user_id, None), now)
    return stored[0] if stored else None


def _check_parents(conversation_id: int, given: Sequence[Mapping[str, Any]]) -> Script[None]:
    """Refuse a parent that is not a message of the same conversation."""
    said = [message["parent_id"] for message in given if message.get("parent_id") is not None]
    parents = set(whole_numbers(said, "messages.parent_id"))
    if not parents:
        return
    own = yield from every(_IN_CONVERSATION, conversation_id=conversation_id, ids=sorted(parents))
    for stranger in sorted(parents.difference(own)):
        raise MissingReference(
            f"message {stranger} is not in conversation {conversation_id}; a parent is of the same conversation",
            constraint="fk_messages__parent_id",
        )
