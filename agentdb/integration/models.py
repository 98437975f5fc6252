"""Connections to what is outside, and what happened there."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, relationship

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import Deletes, append_only, descending_index, partial_index
from agentdb.owners import Owner
from agentdb.types import CASCADE, Json, Key, Moment, Name, Prose, Secret, Tx, Uuid, choice, json, ref, whole, words


class ConnectionStatus(StrEnum):
    """Whether a connection can be used."""

    pending = auto()
    connected = auto()
    disconnected = auto()
    expired = auto()
    error = auto()


class IntegrationEventType(StrEnum):
    """What happened on a connection."""

    connected = auto()
    disconnected = auto()
    tool_used = auto()
    error = auto()
    refreshed = auto()


class IntegrationConnection(Mutable, Entity):
    """A user's account elsewhere."""

    __tablename__ = "integration_connections"
    __table_args__ = (
        UniqueConstraint("user_id", "provider", "account_id"),
        # serves the end of those whose tokens nobody can refresh, and finding those that are due
        partial_index("ix_integration_connections__due", "expires_at", "id", where="status = 'connected'"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    provider: Mapped[Name]
    account_id: Mapped[str] = words("", 255)
    status: Mapped[ConnectionStatus] = choice(ConnectionStatus, ConnectionStatus.pending)
    access_token: Mapped[Secret | None]
    refresh_token: Mapped[Secret | None]
    expires_at: Mapped[Moment | None]  # the access token
    token_version: Mapped[int] = whole(0, 32)  # counts the tokens there were
    refresh_turn: Mapped[int] = whole(0)  # counts who tried to refresh them: the last one's answer is taken
    refreshing_until: Mapped[Moment | None]  # somebody asks for new ones; others wait until then
    scopes: Mapped[Json] = json(list)
    metadata_: Mapped[Json] = json(dict, "metadata")
    connected_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]

    events: Mapped[list[IntegrationEvent]] = relationship(
        back_populates="connection", lazy="raise", passive_deletes="all", order_by="IntegrationEvent.id"
    )


class IntegrationEvent(Entity):
    """What happened on a connection: never changed, goes with the connection or by retention."""

    __tablename__ = "integration_events"
    __table_args__ = (
        # serves what happened last to a user's connections, and the user's deletion
        descending_index("ix_integration_events__user_id_occurred_at_id", "user_id", "occurred_at DESC", "id DESC"),
        # serves what happened last on a connection, and the connection's deletion
        descending_index(
            "ix_integration_events__integration_id_occurred_at_id", "integration_id", "occurred_at DESC", "id DESC"
        ),
        # serves retention
        descending_index("ix_integration_events__occurred_at", "occurred_at DESC"),
        # serves followers, in commit order
        Index(None, "tx", "id"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    integration_id: Mapped[int] = ref("integration_connections.id", CASCADE, index=False)
    event_type: Mapped[IntegrationEventType] = choice(IntegrationEventType)
    event_data: Mapped[Json] = json(dict)
    tool_name: Mapped[Name | None]
    tool_parameters: Mapped[Json | None]
    tool_result: Mapped[Json | None]
    error_message: Mapped[Prose | None]
    error_code: Mapped[Name | None]
    occurred_at: Mapped[Moment]
    tx: Mapped[Tx]

    connection: Mapped[IntegrationConnection] = relationship(back_populates="events", lazy="raise")


append_only(Entity.metadata.tables["integration_events"], Deletes.WITH_PARENT)
