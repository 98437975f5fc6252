"""Resources: files and texts of a conversation, of one message, or of a user alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Table, delete, exists, or_, select

from agentdb.conversation.living import LIVE, missing
from agentdb.conversation.models import Conversation, Message, Resource
from agentdb.conversation.records import StoredText
from agentdb.conversation.splitting import split_text
from agentdb.engine.asked import members, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, MissingReference, NotFound, brief
from agentdb.living import Living
from agentdb.page import Page

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_messages: Final[Table] = Message.__table__  # type: ignore[assignment]
_resources: Final[Table] = Resource.__table__  # type: ignore[assignment]

# What was said of it decides where a resource belongs, and never changes.
_LINKS: Final = frozenset({"id", "user_id", "conversation_id", "message_id"})

_MESSAGE: Final = Plan[int](
    select(_messages.c.conversation_id).where(_messages.c.id == of(_messages.c.id, "message_id")),
    name="resources.attach: message",
)
# Locked, so that nobody deletes it before the resource is there.
_CONVERSATION: Final = Plan[Conversation](
    select(Conversation)
    .where(_conversations.c.id == of(_conversations.c.id, "conversation_id"), LIVE)
    .with_for_update(read=True),
    name="resources.attach: conversation",
    rows=Conversation,
)

_SHOWN: Final = or_(
    _resources.c.conversation_id.is_(None),
    exists(
        select(_conversations.c.id)
        .where(_conversations.c.id == _resources.c.conversation_id, LIVE)
        .correlate(_resources)
    ),
)
_OWNED: Final = _resources.c.user_id == of(_resources.c.user_id)
_REMOVED: Final = delete(_resources).where(_resources.c.id == of(_resources.c.id), _SHOWN)
# By whether somebody is named whose it is.
_REMOVE: Final = {
    False: Plan[None](_REMOVED, name="resources.remove"),
    True: Plan[None](_REMOVED.where(_OWNED), name="resources.remove"),
}


class Resources(Living[Resource]):
    """What is attached to conversations and messages, or kept by a user.

    A resource of a conversation belongs to that conversation's user, and is shown as long as the conversation is.
    """

    model = Resource
    shown = _SHOWN
    owned = _OWNED

    async def attach(
        self,
        name: str,
        *,
        content: str | None = None,
        user_id: int | None = None,
        conversation_id: int | None = None,
        message_id: int | None = None,
        agent_id: int | None = None,
        type: str | None = None,  # noqa: A002 (the column's name)
        s3_uri: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Resource:
        """Keep a resource, and return it.

        Args:
            name: what it is called.
            content: its text.
            user_id: whose it is; by default the conversation's user.
            conversation_id: where it belongs; by default the message's conversation.
            message_id: the message it came with.
            agent_id: who made it; by default the conversation's agent.
            type: what it is, such as ``text/markdown``.
            s3_uri: where its bytes are, when they are elsewhere.
            metadata: whatever else is known of it.

        Raises: NotFound when there is no such live conversation, or it is not this user's; MissingReference for a
            message of another conversation; BadInput when it belongs to nobody.
        Cost: one transaction of at most three statements.
        """
        values = {
            "name": name,
            "content": content,
            "user_id": user_id,
            "conversation_id": conversation_id,
            "message_id": message_id,
            "agent_id": agent_id,
            "type": type,
            "s3_uri": s3_uri,
            "metadata": members(metadata, "resources.metadata"),
        }
        for link in ("user_id", "conversation_id", "message_id", "agent_id"):
            if values[link] is not None:
                whole_number(values[link], f"resources.{link}")
        if user_id is None and conversation_id is None and message_id is None and agent_id is None:
            raise BadInput(
                f"resource {brief(name)} belongs to nobody; give a user, a conversation, a message or an agent"
            )
        return self._there(await self.connection.run(lambda: _attached(values)))

    async def attach_text(
        self, name: str, text: str, *, split: Callable[[str], Sequence[str]] = split_text, **details: Any
    ) -> StoredText:
        """Keep a text, and return its resource with the pieces to embed, in order.

        The text is stored as it is; the pieces are not stored here: whoever embeds them keeps them with their vectors.

        Args:
            name: what it is called.
            text: all of it.
            split: gives the pieces of a text; `split_text`, or any function of the caller's.
            details: whatever else `attach` takes.

        Raises: as `attach`.
        """
        pieces = list(split(text))
        return StoredText(await self.attach(name, content=text, **details), pieces)

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> Resource:
        """Change columns of a resource, and return it.

        Raises: NotFound; BadInput, also for what it belongs to, which never changes.
        Cost: one statement.
        """
        if fixed := _LINKS.intersection(changes):
            raise BadInput(f"resources.{min(fixed)} never changes; attach another resource")
        return await super().update(*key, expected_version=expected_version, **changes)

    async def remove(self, *key: Any, user_id: int | None = None) -> bool:
        """Remove a resource with its vectors, and tell whether it was there.

        Args:
            key: the resource's id.
            user_id: whose it is.

        Cost: one statement.
        """
        values = {**self._key(key), **({} if user_id is None else {"user_id": user_id})}
        return await self.connection.execute(_REMOVE[user_id is not None], values) > 0

    async def of_user(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[Resource]:
        """Return a user's resources, latest first.

        Cost: one read by ix_resources__user_id_id.
        """
        return await self.page(newest_first=True, limit=limit, after=after, user_id=user_id)

    async def of_conversation(
        self, conversation_id: int, *, user_id: int | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Resource]:
        """Return a conversation's resources, latest first.

        Args:
            conversation_id: whose resources.
            user_id: whose the conversation is; of somebody else's there are none.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: one read by ix_resources__conversation_id_id.
        """
        criteria: dict[str, Any] = {
            "conversation_id": conversation_id,
            **({} if user_id is None else {"user_id": user_id}),
        }
        return await self.page(newest_first=True, limit=limit, after=after, **criteria)


def _attached(given: dict[str, Any]) -> Script[Resource | None]:
    """Within a script: store a resource with what it has from its message and its conversation."""
    values = dict(given)
    if values["message_id"] is not None:
        place = yield from one(_MESSAGE, message_id=values["message_id"])
        if place is None and values["conversation_id"] is None:
            raise NotFound(f"there is no message {values['message_id']}")
        if values["conversation_id"] not in {None, place}:
            raise MissingReference(
                f"message {values['message_id']} is not in conversation {values['conversation_id']}",
                constraint="fk_resources__message_id",
            )
        values["conversation_id"] = place
    if values["conversation_id"] is not None:
        conversation = yield from one(_CONVERSATION, conversation_id=values["conversation_id"])
        if conversation is None or values["user_id"] not in {None, conversation.user_id}:
            raise missing(values["conversation_id"])
        values["user_id"] = conversation.user_id
        values["agent_id"] = conversation.agent_id if values["agent_id"] is None else values["agent_id"]
    return (yield from one(insert_one(Resource), **values))
