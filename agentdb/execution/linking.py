"""How an agent's session and a conversation come to refer to each other: both are of one user."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Table, null, or_, select, update

from agentdb.conversation.models import Conversation
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import NotFound
from agentdb.execution.models import AgentSession
from agentdb.execution.moving import OWN, THIS

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_sessions: Final[Table] = AgentSession.__table__  # type: ignore[assignment]

_CONVERSATION: Final = _conversations.c.id == of(_conversations.c.id, "conversation_id")
_SESSION_THERE: Final = _conversations.c.session_id == of(_conversations.c.session_id)

LINK: Final = Plan[None](
    update(_conversations).where(_CONVERSATION).values(session_id=of(_conversations.c.session_id)),
    name="agent_sessions: link",
)
_LOCK_CONVERSATION: Final = Plan[int](
    select(_conversations.c.id)
    .where(
        _CONVERSATION,
        _conversations.c.user_id == of(_conversations.c.user_id),
        _conversations.c.deleted_at.is_(None),
    )
    .with_for_update(key_share=True),
    name="agent_sessions.start: conversation",
)
_LOCK_SESSION: Final = Plan[AgentSession](
    select(AgentSession).where(THIS, OWN).with_for_update(key_share=True),
    name="agent_sessions.link: session",
    rows=AgentSession,
)
# The one it shall be in, and the one it was in: in the order of their keys, so that nobody waits in a circle.
_LOCK_BOTH: Final = Plan[int](
    select(_conversations.c.id)
    .where(or_(_CONVERSATION, _SESSION_THERE))
    .order_by(_conversations.c.id)
    .with_for_update(key_share=True),
    name="agent_sessions.link: conversations",
)
_UNLINK: Final = Plan[None](
    update(_conversations).where(_SESSION_THERE).values(session_id=null()), name="agent_sessions.link: unlink"
)
_MOVE_TO: Final = Plan[AgentSession](
    update(_sessions).where(THIS).values(conversation_id=of(_sessions.c.conversation_id)).returning(_sessions),
    name="agent_sessions.link: moved",
    rows=AgentSession,
)


def started(values: dict[str, Any]) -> Script[AgentSession | None]:
    """Within a script: start a session in a conversation."""
    conversation_id = values["conversation_id"]
    yield from _locked(conversation_id, values["user_id"])
    session: AgentSession | None = yield from one(insert_one(AgentSession), **values)
    if session is not None:
        yield from count(LINK, conversation_id=conversation_id, session_id=session.id)
    return session


def linked(session_id: int, conversation_id: int, user_id: int | None) -> Script[AgentSession | None]:
    """Within a script: let a session go on in another conversation of its user."""
    session = yield from one(_LOCK_SESSION, session_id=session_id, user_id=user_id)
    if session is None:
        raise NotFound(f"there is no agent session {session_id}")
    yield from every(_LOCK_BOTH, conversation_id=conversation_id, session_id=session_id)
    yield from _locked(conversation_id, session.user_id)
    yield from count(_UNLINK, session_id=session_id)
    yield from count(LINK, conversation_id=conversation_id, session_id=session_id)
    moved: AgentSession | None = yield from one(_MOVE_TO, session_id=session_id, conversation_id=conversation_id)
    return moved


def _locked(conversation_id: int, user_id: int) -> Script[None]:
    found = yield from one(_LOCK_CONVERSATION, conversation_id=conversation_id, user_id=user_id)
    if found is None:
        raise NotFound(f"user {user_id} has no conversation {conversation_id}")
