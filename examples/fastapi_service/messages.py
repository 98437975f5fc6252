"""Messages of a conversation, and what making them cost."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from agentdb.integrations.fastapi import Shown, problems
from agentdb.models import CostSource, Message, MessageRole
from examples.fastapi_service.callers import Me, ReadMine, WriteMine
from examples.fastapi_service.parameters import LARGEST, Asked, Dollars, Id, Reference, Title, Tokens

routes = APIRouter(prefix="/conversations/{conversation_id}/messages", tags=["conversations"])

Limit = Annotated[int, Query(ge=1, le=100)]
Before = Annotated[int | None, Query(ge=1, le=LARGEST, description="A position: those before it.")]


class Usage(Asked):
    """What making a message cost."""

    model: Title = Field(examples=["gpt-4o"])
    cost: Dollars
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    agent_id: Reference | None = Field(default=None, description="The agent that spent it.")


class NewMessage(Asked):
    """A message to append."""

    role: MessageRole
    content: str | list[dict[str, Any]] = Field(
        description="Text, or blocks with a type.", examples=["Which trams go to Belém?"]
    )
    usage: Usage | None = Field(default=None, description="Charged to the caller, with the message.")


class MessageShown(Shown, of=Message, shows=("id", "parent_id", "role", "tokens", "created_at")):
    """A message."""

    position: int = Field(description="From 1, without gaps.")
    content: str | list[dict[str, Any]]


@routes.post("", status_code=201, responses=problems(404, 422))
async def append_message(conversation_id: Id, new: NewMessage, unit: WriteMine, me: Me) -> MessageShown:
    """Append a message, and charge what it cost: both, or neither."""
    message = await unit.conversation.messages.append(conversation_id, new.role, new.content)
    if new.usage is not None:
        await unit.hub.costs.append(
            source=CostSource.chat, user_id=me.user_id, message_id=message.id, **new.usage.model_dump()
        )
    return MessageShown.model_validate(message)


@routes.get("", responses=problems(404, 422))
async def list_messages(
    conversation_id: Id, unit: ReadMine, limit: Limit = 50, before: Before = None
) -> list[MessageShown]:
    """List the last messages of a conversation, or the last before a position, oldest first."""
    await unit.conversation.conversations.get(conversation_id)
    messages = unit.conversation.messages
    if before is None:
        found = await messages.latest(conversation_id, limit=limit)
    else:
        found = await messages.before(conversation_id, before, limit=limit)
    return [MessageShown.model_validate(message) for message in found]
