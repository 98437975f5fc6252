"""How messages are read: pages by position, the context of the next turn, the tree, and sums."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Table, bindparam, cast, exists, func, literal_column, select
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.elements import BindParameter

from agentdb.conversation.living import LIVE, OWN, SHOWN
from agentdb.conversation.models import Conversation, Message
from agentdb.conversation.records import Branch, RoleCount, TokenCount
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_messages: Final[Table] = Message.__table__  # type: ignore[assignment]

_HERE: Final = _messages.c.conversation_id == SHOWN.scalar_subquery()
_PLACE: Final = of(_messages.c.position, "place")
_LIMIT: Final[BindParameter[int]] = bindparam("limit")
_OF_MESSAGE: Final = of(_messages.c.id, "message_id")


THERE: Final = Plan[int](
    select(_conversations.c.last_position).where(
        _conversations.c.id == of(_conversations.c.id, "conversation_id"), LIVE, OWN
    ),
    name="conversations.there",
    point=True,
)


LATEST: Final = Plan[Message](
    select(Message).where(_HERE).order_by(_messages.c.position.desc()).limit(_LIMIT),
    name="messages.latest",
    rows=Message,
)
BEFORE: Final = Plan[Message](
    select(Message).where(_HERE, _messages.c.position < _PLACE).order_by(_messages.c.position.desc()).limit(_LIMIT),
    name="messages.before",
    rows=Message,
)
AFTER: Final = Plan[Message](
    select(Message).where(_HERE, _messages.c.position > _PLACE).order_by(_messages.c.position).limit(_LIMIT),
    name="messages.after",
    rows=Message,
)


def _context_plan() -> Plan[Message]:
    """Read the end of a conversation behind its summary, newest first, and then the summary."""
    summary = (
        select(_messages)
        .join(
            _conversations,
            (_conversations.c.summary_message_id == _messages.c.id)
            & (_conversations.c.id == _messages.c.conversation_id),
        )
        .where(_conversations.c.id == of(_conversations.c.id, "conversation_id"), LIVE, OWN)
        .cte("summary")
    )
    begin = func.coalesce(select(summary.c.position).scalar_subquery(), 0)
    end = (
        select(_messages)
        .where(_HERE, _messages.c.position > begin)
        .order_by(_messages.c.position.desc())
        .limit(_LIMIT)
        .subquery("latest")
    )
    both = select(end).union_all(select(summary)).subquery("both")
    return Plan(
        select(*(both.c[column.key] for column in _messages.c)).order_by(both.c.position.desc()),
        name="messages.context",
        rows=Message,
    )


CONTEXT: Final = _context_plan()
SUMMARY: Final = Plan[int](
    select(_conversations.c.summary_message_id).where(
        _conversations.c.id == of(_conversations.c.id, "conversation_id"), LIVE, OWN
    ),
    name="messages.context: summary",
    point=True,
)

_parent: Final = aliased(_messages, name="parent")
CHILDREN: Final = Plan[Message](
    select(Message)
    .where(
        _messages.c.parent_id == _OF_MESSAGE,
        _messages.c.position > _PLACE,
        # Of the parent, once: a child is of the same conversation.
        exists(
            select(literal_column("1"))
            .select_from(_parent.join(_conversations, _conversations.c.id == _parent.c.conversation_id))
            .where(_parent.c.id == _OF_MESSAGE, LIVE, OWN)
        ),
    )
    .order_by(_messages.c.position)
    .limit(_LIMIT),
    name="messages.children",
    rows=Message,
)


def _path_plan() -> Plan[Message]:
    """Climb from a message to its root; a parent is before its child, so that every climb ends."""
    climb = (
        select(_messages.c.id, _messages.c.parent_id, _messages.c.position, literal_column("1").label("depth"))
        .join(_conversations, _conversations.c.id == _messages.c.conversation_id)
        .where(_messages.c.id == _OF_MESSAGE, LIVE, OWN)
        .cte("climb", recursive=True)
    )
    climb = climb.union_all(
        select(_parent.c.id, _parent.c.parent_id, _parent.c.position, climb.c.depth + literal_column("1")).where(
            _parent.c.id == climb.c.parent_id, _parent.c.position < climb.c.position, climb.c.depth < _LIMIT
        )
    )
    statement = select(Message).join(climb, climb.c.id == _messages.c.id).order_by(_messages.c.position)
    return Plan(statement, name="messages.path", rows=Message)


PATH: Final = _path_plan()


def _branches_plan() -> Plan[Branch]:
    """Find the latest messages without children, and climb from each to its root."""
    child = aliased(_messages, name="child")
    leaves = (
        select(_messages.c.id, _messages.c.parent_id, _messages.c.position, _messages.c.created_at)
        .where(_HERE, ~exists(select(literal_column("1")).where(child.c.parent_id == _messages.c.id)))
        .order_by(_messages.c.position.desc())
        .limit(_LIMIT)
        .subquery("leaves")
    )
    # What is told of the leaf is carried along: joined at the end, it would be looked for among all messages.
    climb = select(
        leaves.c.id.label("leaf_id"),
        leaves.c.position.label("last_position"),
        leaves.c.created_at,
        leaves.c.id,
        leaves.c.parent_id,
        leaves.c.position,
        literal_column("1").label("depth"),
    ).cte("climb", recursive=True)
    step = climb.c.depth + literal_column("1")
    told = (climb.c.leaf_id, climb.c.last_position, climb.c.created_at)
    climb = climb.union_all(
        select(*told, _parent.c.id, _parent.c.parent_id, _parent.c.position, step).where(
            _parent.c.id == climb.c.parent_id, _parent.c.position < climb.c.position
        )
    )
    statement = (
        select(climb.c.leaf_id, climb.c.id, climb.c.depth, climb.c.last_position, climb.c.created_at)
        .where(climb.c.parent_id.is_(None))
        .order_by(climb.c.last_position.desc())
    )
    return Plan(statement, name="messages.branches", rows=Branch)


BRANCHES: Final = _branches_plan()


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # A database may sum whole numbers to NUMERIC, which would come back as Decimal.
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


TOKENS: Final = Plan[TokenCount](
    select(func.count(_messages.c.id), func.count(_messages.c.tokens), _sum(_messages.c.tokens))
    .select_from(
        _conversations.outerjoin(
            _messages, (_messages.c.conversation_id == _conversations.c.id) & (_messages.c.position > _PLACE)
        )
    )
    .where(_conversations.c.id == of(_conversations.c.id, "conversation_id"), LIVE, OWN)
    .group_by(_conversations.c.id),
    name="messages.tokens",
    rows=TokenCount,
)
ROLES: Final = Plan[RoleCount](
    select(_messages.c.role, func.count(), _sum(_messages.c.tokens))
    .where(_HERE)
    .group_by(_messages.c.role)
    .order_by(_messages.c.role),
    name="messages.roles",
    rows=RoleCount,
)
