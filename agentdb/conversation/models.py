"""Conversations, their messages, and what is attached to them."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, relationship

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import descending_index, partial_index
from agentdb.owners import Owner
from agentdb.types import (
    CASCADE,
    SET_NULL,
    Json,
    Key,
    Moment,
    Name,
    Prose,
    Uuid,
    Whole,
    choice,
    json,
    ref,
    whole,
    words,
)


class MessageRole(StrEnum):
    """Who speaks."""

    user = auto()
    assistant = auto()
    system = auto()
    developer = auto()
    tool = auto()


class Conversation(Mutable, Entity):
    """A user's exchange with an agent."""

    __tablename__ = "conversations"
    __table_args__ = (
        UniqueConstraint("key"),
        UniqueConstraint("session_id"),
        # serves a user's conversations, newest first, and the user's deletion
        descending_index("ix_conversations__user_id_created_at_id", "user_id", "created_at DESC", "id DESC"),
        # serves a user's conversations, last spoken in first
        partial_index(
            "ix_conversations__user_id_last_message_at_id",
            "user_id",
            "last_message_at DESC",
            "id DESC",
            where="deleted_at IS NULL AND last_message_at IS NOT NULL",
        ),
        # serves a user's deleted conversations, last deleted first
        partial_index(
            "ix_conversations__user_id_deleted_at_id",
            "user_id",
            "deleted_at DESC",
            "id DESC",
            where="deleted_at IS NOT NULL",
        ),
        # serves purging what was deleted before a moment
        partial_index("ix_conversations__deleted_at_id", "deleted_at", "id", where="deleted_at IS NOT NULL"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    key: Mapped[Name | None]  # an id of the caller's own
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    agent_id: Mapped[int | None] = ref("agents.id", SET_NULL)
    session_id: Mapped[int | None] = ref("agent_sessions.id", SET_NULL, index=False, cycle=True)
    title: Mapped[str] = words("")
    session_context: Mapped[Json] = json(dict)
    metadata_: Mapped[Json] = json(dict, "metadata")
    summary_message_id: Mapped[int | None] = ref("messages.id", SET_NULL, cycle=True)
    last_position: Mapped[int] = whole(0)  # also how many messages were ever appended
    last_message_at: Mapped[Moment | None]
    deleted_at: Mapped[Moment | None]

    messages: Mapped[list[Message]] = relationship(
        foreign_keys="Message.conversation_id",
        back_populates="conversation",
        lazy="raise",
        passive_deletes="all",
        order_by="Message.position",
    )
    resources: Mapped[list[Resource]] = relationship(
        back_populates="conversation", lazy="raise", passive_deletes="all", order_by="Resource.id"
    )


class Message(Mutable, Entity):
    """Something said in a conversation."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "position"),
        # serves a message's children in order, and the message's deletion
        Index(None, "parent_id", "position"),
    )
    __owner__ = Owner.via("conversation_id", "conversations")

    id: Mapped[Key]
    conversation_id: Mapped[int] = ref("conversations.id", CASCADE, index=False)
    position: Mapped[Whole]  # given by the conversation's own update: from 1, without gaps
    parent_id: Mapped[int | None] = ref("messages.id", SET_NULL, index=False)  # of the same conversation
    role: Mapped[MessageRole] = choice(MessageRole)
    content: Mapped[Json]
    name: Mapped[Name | None]
    tool_call_id: Mapped[Name | None]
    metadata_: Mapped[Json] = json(dict, "metadata")
    tokens: Mapped[Whole | None]

    conversation: Mapped[Conversation] = relationship(
        foreign_keys=[conversation_id], back_populates="messages", lazy="raise"
    )


class Resource(Mutable, Entity):
    """A file or a text attached to a conversation or a message, or kept by a user."""

    __tablename__ = "resources"
    __table_args__ = (
        # serves a user's resources in order, and the user's deletion
        Index(None, "user_id", "id"),
        # serves a conversation's resources in order, and the conversation's deletion
        Index(None, "conversation_id", "id"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int | None] = ref("users.id", CASCADE, index=False)
    conversation_id: Mapped[int | None] = ref("conversations.id", CASCADE, index=False)
    agent_id: Mapped[int | None] = ref("agents.id", SET_NULL)
    message_id: Mapped[int | None] = ref("messages.id", SET_NULL)
    name: Mapped[Name]
    type: Mapped[Name | None]
    content: Mapped[Prose | None]
    s3_uri: Mapped[Prose | None]
    metadata_: Mapped[Json] = json(dict, "metadata")

    conversation: Mapped[Conversation | None] = relationship(back_populates="resources", lazy="raise")
