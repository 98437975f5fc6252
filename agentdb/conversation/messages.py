"""Messages: appended without gaps by any number of writers, and read back from the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Table, bindparam, func, insert, literal_column, select, update

from agentdb.conversation.models import Conversation, Message, MessageRole
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan, Together
from agentdb.engine.statements import given_arrays, insert_one
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.repository import Repository, capped

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


def _append_plan() -> Plan[Message]:
    """Move the conversation's last position and store the message at it, in one statement.

    Together: each conversation is moved once, by as many places as it has messages. One that somebody else has locked
    is passed by, so that it holds up no append to another; its messages are then appended alone.
    """
    # The position is taken first in the text, so that parameters are numbered as the joined statement numbers them.
    moved = (
        update(_conversations)
        .where(_conversations.c.id == of(_messages.c.conversation_id), _conversations.c.deleted_at.is_(None))
        .values(
            last_position=_conversations.c.last_position + 1,
            last_message_at=of(_messages.c.created_at),
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
        together=Together(_append_together(), passes_by=True),
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
        .where(_conversations.c.id.in_(select(counted.c.conversation_id)), _conversations.c.deleted_at.is_(None))
        .order_by(_conversations.c.id)
        .with_for_update(skip_locked=True)
        .cte("locked")
    )
    moved = (
        update(_conversations)
        .where(_conversations.c.id == counted.c.conversation_id, _conversations.c.id == locked.c.id)
        .values(
            last_position=_conversations.c.last_position + counted.c.many,
            last_message_at=counted.c.latest,
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


_APPEND: Final = _append_plan()

_MOVE: Final = Plan[int](
    update(_conversations)
    .where(_conversations.c.id == bindparam("conversation_id"), _conversations.c.deleted_at.is_(None))
    .values(
        last_position=_conversations.c.last_position + bindparam("many"),
        last_message_at=of(_messages.c.created_at, "now"),
        updated_at=of(_messages.c.created_at, "now"),
    )
    .returning(_conversations.c.last_position),
    name="messages.append: conversation",
)

_OWN: Final = Plan[int](
    select(_messages.c.id).where(
        _messages.c.conversation_id == bindparam("conversation_id"), among(_messages.c.id, "ids")
    ),
    name="messages.append: parents",
)

_LATEST: Final = Plan[Message](
    select(Message)
    .where(Message.conversation_id == bindparam("conversation_id"))
    .order_by(Message.position.desc())
    .limit(bindparam("limit")),
    name="messages.latest",
    rows=Message,
)


class Messages(Repository[Message]):
    """What was said, in order: positions count from 1 in each conversation, without gaps, whoever writes."""

    model = Message

    async def append(
        self,
        conversation_id: int,
        role: MessageRole | str,
        content: Any,
        *,
        parent_id: int | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tokens: int | None = None,
    ) -> Message:
        """Append one message, and return it with its position.

        Raises: NotFound when there is no such live conversation; BadInput; MissingReference for a parent that is not a
            message of this conversation.
        Cost: one statement, which concurrent appends share, to one conversation or many; a transaction with a parent.
        """
        values = {
            "conversation_id": conversation_id,
            "role": role,
            "content": content,
            "parent_id": parent_id,
            "name": name,
            "tool_call_id": tool_call_id,
            "metadata": metadata or {},
            "tokens": tokens,
        }
        if self.connection.chains and parent_id is None:
            message = await self.connection.fetch_one(_APPEND, values)
        else:
            now = self.connection.now()
            message = await self.connection.run(lambda: _append_steps(values, now))
        if message is None:
            raise NotFound(f"there is no conversation {conversation_id}, or it is deleted")
        return message

    async def append_many(self, conversation_id: int, messages: Iterable[Mapping[str, Any]]) -> list[Message]:
        """Append messages one after another, all or none, with nobody else's between them.

        Args: messages: each with ``role`` and ``content``, and whatever else ``append`` takes.
        Raises: NotFound when there is no such live conversation; BadInput; MissingReference.
        Cost: one transaction; the conversation is moved once.
        """
        given = [dict(message) for message in messages]
        if not given:
            raise BadInput("no message to append")
        now = self.connection.now()
        return await self.connection.run(lambda: _append_many_steps(conversation_id, given, now))

    async def latest(self, conversation_id: int, *, limit: int = 50) -> list[Message]:
        """Return the last messages of a conversation, oldest first.

        Cost: one read by uq_messages__conversation_id_position, whatever the conversation's length.
        """
        values = {"conversation_id": conversation_id, "limit": capped(limit, self.most)}
        messages = await self.connection.fetch_all(_LATEST, values)
        messages.reverse()
        return messages


def _append_steps(values: Mapping[str, Any], now: Any) -> Script[Message | None]:
    position = yield from one(_MOVE, conversation_id=values["conversation_id"], many=1, now=now)
    if position is None:
        return None
    yield from _check_parents(values["conversation_id"], [values])
    return (yield from one(insert_one(Message), position=position, created_at=now, updated_at=now, **values))


def _append_many_steps(conversation_id: int, given: list[dict[str, Any]], now: Any) -> Script[list[Message]]:
    last = yield from one(_MOVE, conversation_id=conversation_id, many=len(given), now=now)
    if last is None:
        raise NotFound(f"there is no conversation {conversation_id}, or it is deleted")
    yield from _check_parents(conversation_id, given)
    rows = [
        {"created_at": now, "updated_at": now, **values, "conversation_id": conversation_id, "position": position}
        for position, values in enumerate(given, last - len(given) + 1)
    ]
    stored = yield from each(insert_one(Message), rows)
    return [message for message in stored if message is not None]


def _check_parents(conversation_id: int, given: Sequence[Mapping[str, Any]]) -> Script[None]:
    """Refuse a parent that is not a message of the same conversation."""
    parents = {message["parent_id"] for message in given if message.get("parent_id") is not None}
    if not parents:
        return
    own = yield from every(_OWN, conversation_id=conversation_id, ids=sorted(parents))
    for stranger in parents.difference(own):
        raise MissingReference(
            f"message {stranger} is not in conversation {conversation_id}; a parent is of the same conversation",
            constraint="fk_messages__parent_id",
        )
