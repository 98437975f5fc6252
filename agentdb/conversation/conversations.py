"""Conversations: made, found, listed."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, select

from agentdb.conversation.models import Conversation
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import Conflict
from agentdb.page import Page
from agentdb.repository import Repository

_BY_KEY: Final = Plan[Conversation](
    select(Conversation).where(Conversation.key == bindparam("key"), Conversation.deleted_at.is_(None)),
    name="conversations.by_key",
    rows=Conversation,
    point=True,
)


class Conversations(Repository[Conversation]):
    """A user's exchanges with agents."""

    model = Conversation

    async def create(
        self,
        *,
        user_id: int,
        agent_id: int | None = None,
        title: str = "",
        key: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Conversation:
        """Create a conversation.

        Args: key: an id of the caller's own, unique in the installation.
        Raises: Conflict when the key is taken; MissingReference for an unknown user or agent.
        """
        return await self.add(user_id=user_id, agent_id=agent_id, title=title, key=key, metadata=metadata or {})

    async def get_or_create(
        self, key: str, *, user_id: int, agent_id: int | None = None, title: str = "", metadata: Any = None
    ) -> tuple[Conversation, bool]:
        """Return the conversation with this key, and whether this call created it: of many at once, exactly one does.

        Raises: Conflict when the conversation with this key is deleted; MissingReference for an unknown user or agent.
        Cost: one statement when it is new, two when it was there.
        """
        plan = insert_unless_there(Conversation, ("key",))
        values = {"key": key, "user_id": user_id, "agent_id": agent_id, "title": title, "metadata": metadata or {}}
        created = await self.connection.fetch_one(plan, values)
        if created is not None:
            return created, True
        present = await self.by_key(key)
        if present is None:
            raise Conflict(
                f"the conversation with key {key!r} is deleted; choose another key, or restore it",
                constraint="uq_conversations__key",
            )
        return present, False

    async def by_key(self, key: str) -> Conversation | None:
        """Return the live conversation with this key, or None."""
        return await self.connection.fetch_one(_BY_KEY, {"key": key})

    async def newest(self, *, user_id: int, limit: int = 50, after: str | None = None) -> Page[Conversation]:
        """Return a user's live conversations, newest first.

        Cost: one read by ix_conversations__user_id_created_at.
        """
        return await self.page(
            by="created_at", newest_first=True, limit=limit, after=after, user_id=user_id, deleted_at=None
        )
