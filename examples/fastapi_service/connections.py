"""Connections: what a person has connected elsewhere, and what happened there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.models import ConnectionStatus, IntegrationEvent
from examples.fastapi_service.callers import Me, Mine, ReadMine
from examples.fastapi_service.parameters import Asked, Id, Title

routes = APIRouter(prefix="/connections", tags=["connections"])


class NewConnection(Asked):
    """A connection to begin: the provider asks its user, and comes back."""

    provider: Title = Field(examples=["github"])
    account_id: str = Field(default="", max_length=255)
    scopes: list[Annotated[str, Field(min_length=1, max_length=255)]] = Field(default=[], max_length=50)


class ConnectionShown(Shown):
    """A connection, without its tokens."""

    id: int
    provider: str
    account_id: str
    status: ConnectionStatus
    scopes: list[str]
    has_access_token: bool
    expires_at: datetime | None
    connected_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class EventShown(
    Shown,
    of=IntegrationEvent,
    shows=("id", "event_type", "tool_name", "error_message", "error_code", "occurred_at"),
):
    """Something that happened with a connection."""

    event_data: Any


@routes.get("", responses=problems(422))
async def list_connections(mine: Mine, me: Me, paging: Paging) -> PageShown[ConnectionShown]:
    """List one's connections."""
    return paging.shown(await mine.integration.connections.of_user(me.user_id, **paging.words), ConnectionShown)


@routes.post("", status_code=201, responses=problems(409, 422))
async def begin_connection(new: NewConnection, mine: Mine, me: Me) -> ConnectionShown:
    """Begin a connection."""
    begun = await mine.integration.connections.begin(me.user_id, **new.model_dump())
    return ConnectionShown.model_validate(begun)


@routes.delete("/{connection_id}", status_code=204, responses=problems(404))
async def remove_connection(connection_id: Id, mine: Mine) -> None:
    """Forget a connection, its tokens and its events."""
    await mine.integration.connections.remove(connection_id)


@routes.get("/{connection_id}/events", responses=problems(404, 422))
async def list_events(connection_id: Id, unit: ReadMine, paging: Paging) -> PageShown[EventShown]:
    """List what happened with a connection, newest first."""
    await unit.integration.connections.get(connection_id)
    events = await unit.integration.events.latest(integration_id=connection_id, **paging.words)
    return paging.shown(events, EventShown)
