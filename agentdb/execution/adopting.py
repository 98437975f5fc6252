"""How conversations that agents held before there were sessions come to have one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, bindparam, select

from agentdb.catalog.models import Agent
from agentdb.conversation.models import Conversation
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.statements import insert_one
from agentdb.execution.linking import LINK
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
        examined: how many were looked at: conversations without a session. It is the sum of the four behind it.
        created: how many got one.
        of_nobody: how many name no agent, and so need none.
        begun: how many had one, which was taken from them: they stay without.
        left_out: those that name an agent there is not.
        last: the id of the last one that was looked at; None: there was none, and it is done.
    """

    examined: int
    created: int
    of_nobody: int
    begun: int
    left_out: Sequence[LeftOut]
    last: int | None


@dataclass(frozen=True, slots=True)
class _Found:
    """A batch of conversations, and those of them that are to have a session, with the agents they name."""

    rows: Sequence[Conversation]
    taken: Sequence[tuple[Conversation, int]]
    of_nobody: int
    begun: int
    left_out: Sequence[LeftOut]

    def adopted(self, created: int) -> Adopted:
        last = self.rows[-1].id if self.rows else None
        return Adopted(len(self.rows), created, self.of_nobody, self.begun, self.left_out, last)


def _next_plan(*, lock: bool) -> Plan[Conversation]:
    statement = (
        select(Conversation)
        .where(
            _conversations.c.id > of(_conversations.c.id, "after"),
            _conversations.c.session_id.is_(None),
            _conversations.c.deleted_at.is_(None),
        )
        .order_by(_conversations.c.id)
        .limit(bindparam("limit", type_=WholeType()))
    )
    if lock:  # whoever else does the same waits for it, and then finds the session there
        statement = statement.with_for_update(key_share=True)
    return Plan(statement, name="agent_sessions.adopt: conversations", rows=Conversation)


def _known_plan(*, lock: bool) -> Plan[int]:
    statement = select(_agents.c.id).where(among(_agents.c.id, "ids"))
    if lock:  # none of them is removed before its sessions are there
        statement = statement.with_for_update(read=True, key_share=True)
    return Plan(statement, name="agent_sessions.adopt: agents")


_NEXT: Final = {lock: _next_plan(lock=lock) for lock in (False, True)}
_KNOWN: Final = {lock: _known_plan(lock=lock) for lock in (False, True)}
_STARTED_ALREADY: Final = Plan[int](
    select(_sessions.c.conversation_id).where(among(_sessions.c.conversation_id, "ids")),
    name="agent_sessions.adopt: sessions",
)


def adoptable(after: int, limit: int) -> Script[Adopted]:
    """Within a script: tell what `adopted` would do; nothing is written or locked."""
    found = yield from _found(after, limit, lock=False)
    return found.adopted(len(found.taken))


def adopted(after: int, limit: int) -> Script[Adopted]:
    """Within a script: give conversations that name an agent a session that is completed."""
    found = yield from _found(after, limit, lock=True)
    sessions = yield from each(insert_one(AgentSession), [_session_of(row, agent) for row, agent in found.taken])
    links = [{"conversation_id": row.conversation_id, "session_id": row.id} for row in sessions if row is not None]
    yield from each(LINK, links)
    return found.adopted(len(links))


def _found(after: int, limit: int, *, lock: bool) -> Script[_Found]:
    rows = yield from every(_NEXT[lock], after=after, limit=limit)
    if not rows:
        return _Found((), (), 0, 0, ())
    named = {row.id: agent for row in rows if (agent := _agent_of(row)) is not None}
    known = set((yield from every(_KNOWN[lock], ids=sorted({agent for agent in named.values() if type(agent) is int}))))
    # Those whose session was started there, and then linked to another conversation or to none.
    begun = set((yield from every(_STARTED_ALREADY, ids=sorted(named))))
    taken, left_out = [], []
    for row in rows:
        agent = named.get(row.id)
        if agent is None or row.id in begun:
            continue
        if isinstance(agent, int) and agent in known:
            taken.append((row, agent))
        else:
            left_out.append(LeftOut(row.id, f"there is no agent {agent!r}"))
    return _Found(rows, taken, len(rows) - len(named), len(begun), left_out)


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


def _session_of(row: Conversation, agent: int) -> dict[str, Any]:
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
