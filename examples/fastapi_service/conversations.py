"""Conversations of a person."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.models import Conversation
from examples.fastapi_service.callers import Me, Mine
from examples.fastapi_service.parameters import Asked, Id, Json, Reference

routes = APIRouter(prefix="/conversations", tags=["conversations"])


class NewConversation(Asked):
    """A conversation to begin."""

    title: str = Field(default="", max_length=255, examples=["a trip to Lisbon"])
    key: str | None = Field(
        default=None, min_length=1, max_length=255, description="An id of the caller's own; nobody else's."
    )
    agent_id: Reference | None = None
    metadata: Json = Field(default={})


class Renamed(Asked):
    """What a conversation is called from now on."""

    title: str = Field(max_length=255)


class ConversationShown(
    Shown,
    of=Conversation,
    shows=("id", "uuid", "key", "title", "agent_id", "metadata", "last_message_at", "deleted_at", "created_at"),
):
    """A conversation."""

    message_count: int = Field(validation_alias="last_position")


@routes.post("", status_code=201, responses=problems(404, 409, 422))
async def begin_conversation(new: NewConversation, mine: Mine, me: Me) -> ConversationShown:
    """Begin a conversation."""
    begun = await mine.conversation.conversations.create(user_id=me.user_id, **new.model_dump())
    return ConversationShown.model_validate(begun)


@routes.get("", responses=problems(422))
async def list_conversations(mine: Mine, me: Me, paging: Paging) -> PageShown[ConversationShown]:
    """List one's conversations, newest first."""
    page = await mine.conversation.conversations.newest(user_id=me.user_id, **paging.words)
    return paging.shown(page, ConversationShown)


@routes.get("/{conversation_id}", responses=problems(404))
async def show_conversation(conversation_id: Id, mine: Mine) -> ConversationShown:
    """Show a conversation."""
    return ConversationShown.model_validate(await mine.conversation.conversations.get(conversation_id))


@routes.patch("/{conversation_id}", responses=problems(404, 422))
async def rename_conversation(conversation_id: Id, new: Renamed, mine: Mine) -> ConversationShown:
    """Call a conversation something else."""
    renamed = await mine.conversation.conversations.rename(conversation_id, new.title)
    return ConversationShown.model_validate(renamed)


@routes.delete("/{conversation_id}", status_code=204, responses=problems(404))
async def delete_conversation(conversation_id: Id, mine: Mine) -> None:
    """Delete a conversation; it is kept for a while, and listed no more."""
    await mine.conversation.conversations.delete(conversation_id)
