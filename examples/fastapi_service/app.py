"""The service's application: its routes, and nothing of how rows are stored."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query
from pydantic import AwareDatetime

from agentdb.integrations.fastapi import DB, ReadUnit, WriteUnit, health, install_error_handlers, lifespan, problems
from agentdb.models import CostSource
from examples.fastapi_service.shapes import (
    ConversationShown,
    MessageShown,
    NewConversation,
    NewMessage,
    NewUser,
    PageShown,
    Spend,
    UserShown,
)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(description="The `next` of the page before.")]
Moment = Annotated[AwareDatetime | None, Query(description="With its offset from UTC.")]

users = APIRouter(prefix="/users", tags=["users"])
conversations = APIRouter(prefix="/conversations", tags=["conversations"])


def make_app(url: str | None = None, **settings: Any) -> FastAPI:
    """Return the application, over the database that the URL, or else the environment, names."""
    app = FastAPI(
        title="Conversations",
        version="1.0.0",
        summary="Users, their conversations with agents, and what those cost.",
        lifespan=lifespan(url, **settings),
    )
    install_error_handlers(app)
    app.include_router(users)
    app.include_router(conversations)
    app.include_router(health)
    return app


@users.post("", status_code=201, responses=problems(409))
async def sign_up(new: NewUser, db: DB) -> UserShown:
    """Sign a person up. The username and the address are nobody else's."""
    return UserShown.model_validate(await db.supervisor.users.create(new.username, email=new.email))


@users.get("/{user_id}", responses=problems(404))
async def show_user(user_id: Id, db: DB) -> UserShown:
    """Show a person."""
    return UserShown.model_validate(await db.supervisor.users.get(user_id))


@users.post("/{user_id}/conversations", status_code=201, responses=problems(404, 409))
async def begin(user_id: Id, new: NewConversation, unit: WriteUnit) -> ConversationShown:
    """Begin a conversation of a person."""
    await unit.supervisor.users.get(user_id)
    conversation = await unit.conversation.conversations.create(user_id=user_id, title=new.title, key=new.key)
    return ConversationShown.model_validate(conversation)


@users.get("/{user_id}/conversations", responses=problems(404))
async def list_conversations(
    user_id: Id, unit: ReadUnit, limit: Limit = 20, after: After = None
) -> PageShown[ConversationShown]:
    """List a person's conversations, newest first."""
    await unit.supervisor.users.get(user_id)
    page = await unit.conversation.conversations.newest(user_id=user_id, limit=limit, after=after)
    return PageShown(items=[ConversationShown.model_validate(item) for item in page.items], next=page.next)


@users.get("/{user_id}/spend", responses=problems(404))
async def show_spend(user_id: Id, unit: ReadUnit, since: Moment = None, until: Moment = None) -> Spend:
    """Show what a person's conversations cost, from `since` up to before `until`."""
    await unit.supervisor.users.get(user_id)
    window: dict[str, Any] = {
        name: at.astimezone(UTC) for name, at in (("since", since), ("until", until)) if at is not None
    }
    return Spend.model_validate(await unit.hub.costs.total(user_id=user_id, **window))


@conversations.post("/{conversation_id}/messages", status_code=201, responses=problems(404))
async def append(conversation_id: Id, new: NewMessage, unit: WriteUnit) -> MessageShown:
    """Append a message, and charge what it cost: both, or neither."""
    message = await unit.conversation.messages.append(conversation_id, new.role, new.content)
    if new.usage is not None:
        conversation = await unit.conversation.conversations.get(conversation_id)
        await unit.hub.costs.append(
            source=CostSource.chat, user_id=conversation.user_id, message_id=message.id, **new.usage.model_dump()
        )
    return MessageShown.model_validate(message)


@conversations.get("/{conversation_id}/messages", responses=problems(404))
async def list_messages(conversation_id: Id, unit: ReadUnit, limit: Limit = 50) -> list[MessageShown]:
    """List the last messages of a conversation, oldest first."""
    await unit.conversation.conversations.get(conversation_id)
    messages = await unit.conversation.messages.latest(conversation_id, limit=limit)
    return [MessageShown.model_validate(message) for message in messages]
