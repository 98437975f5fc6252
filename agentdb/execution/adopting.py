"""How conversations that agents held before there were sessions come to have one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, update

from agentdb.catalog.models import Agent
from agentdb.conversation.models import Conversation
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.statements import insert_one
from agentdb.execution.models import AgentSession, AgentSessionStatus
from agentdb.types import uuid7

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_sessions: Final[Table] = AgentSession.__table__  # type: ignore[assignment]
_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]

_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A conversation that got no session, and why."""

    conversation_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of a batch of conversations.

    Attributes:
        examined: how many were looked at: conversations without a session.
        created: how many got one.
        left_out: those that name an agent there is not.
        last: the id of the last one that was looked at; None: there was none, and it is done.
    """

    examined: int
    created: int
    left_out: Sequence[LeftOut]
    last: int | None


LINK: Final = Plan[None](
    update(_conversations)
    .where(_conversations.c.id == of(_conversations.c.id, "conversation_id"))
    .values(session_id=of(_conversations.c.session_id)),
    name="agent_sessions: link",
)
# Whoever else does the same waits for the lock, and then finds the session there.
_NEXT: Final = Plan[Conversation](
    select(Conversation)
    .where(
        _conversations.c.id > of(_conversations.c.id, "after"),
        _conversations.c.session_id.is_(None),
        _conversations.c.deleted_at.is_(None),
    )
    .order_by(_conversations.c.id)
    .limit(bindparam("limit", type_=WholeType()))
    .with_for_update(key_share=True),
    name="agent_sessions.adopt: conversations",
    rows=Conversation,
)
_KNOWN: Final = Plan[int](
    select(_agents.c.id).where(among(_agents.c.id, "ids")).with_for_update(read=True, key_share=True),
    name="agent_sessions.adopt: agents",
)
_STARTED_ALREADY: Final = Plan[int](
    select(_sessions.c.conversation_id).where(among(_sessions.c.conversation_id, "ids")),
    name="agent_sessions.adopt: sessions",
)


def adopted(after: int, limit: int) -> Script[Adopted]:
    """Within a script: give conversations that name an agent a session that is completed."""
    found = yield from every(_NEXT, after=after, limit=limit)
    if not found:
        return Adopted(0, 0, (), None)
    named = {row.id: agent for row in found if (agent := _agent_of(row)) is not None}
    whole = {agent for agent in named.values() if type(agent) is int}
    known = set((yield from every(_KNOWN, ids=sorted(whole))))
    # Those whose session was started there, and then linked to another conversation or to none.
    begun = set((yield from every(_STARTED_ALREADY, ids=sorted(named))))
    taken = [row for row in found if named.get(row.id) in known and row.id not in begun]
    rows = yield from each(insert_one(AgentSession), [_session_of(row, named[row.id]) for row in taken])
    links = [{"conversation_id": row.conversation_id, "session_id": row.id} for row in rows if row is not None]
    yield from each(LINK, links)
    left_out = [
        LeftOut(row.id, f"there is no agent {named[row.id]!r}")
        for row in found
        if row.id in named and named[row.id] not in known
    ]
    return Adopted(len(found), len(links), left_out, found[-1].id)


def _agent_of(row: Conversation) -> int | str | None:
    """Return the agent that a conversation names: a whole number, or what is none as text."""
    if row.agent_id is not None:
        return row.agent_id
    named = row.metadata_.get("agent_id") if isinstance(row.metadata_, dict) else None
    if named is None:
        return None
    text = str(named).strip()
    if not isinstance(named, bool) and text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST:
        return int(text)
    return text[:100]


def _session_of(row: Conversation, agent: Any) -> dict[str, Any]:
    context = row.metadata_.get("agent_context") if isinstance(row.metadata_, dict) else None
    ended = row.last_message_at or row.updated_at
    return {
        "uuid": uuid7(),
        "user_id": row.user_id,
        "agent_id": agent,
        "conversation_id": row.id,
        "status": AgentSessionStatus.completed,
        "context": context if isinstance(context, dict) else {},
        "messages_count": row.last_position,
        "started_at": row.created_at,
        "last_active_at": ended,
        "completed_at": ended,
    }
