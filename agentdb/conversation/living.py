"""What is shown: a deleted conversation, and whatever belongs to it, is not."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Table, func, select

from agentdb.conversation.models import Conversation
from agentdb.engine.columns import of
from agentdb.errors import NotFound

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]

LIVE: Final = _conversations.c.deleted_at.is_(None)
# Of this user, where one is given.
OWN: Final = _conversations.c.user_id == func.coalesce(of(_conversations.c.user_id), _conversations.c.user_id)
# The conversation that was asked for, if it may be shown: one look at its key.
SHOWN: Final = select(_conversations.c.id).where(
    _conversations.c.id == of(_conversations.c.id, "conversation_id"), LIVE, OWN
)


def missing(conversation_id: int) -> NotFound:
    """Return the error of a conversation that is not shown: to a stranger, somebody else's is not there."""
    return NotFound(f"there is no conversation {conversation_id}, or it is deleted")
