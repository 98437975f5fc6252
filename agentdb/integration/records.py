"""What is told of connections: never a token, but by `Tokens`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from agentdb.engine.asked import is_text, moment
from agentdb.errors import BadInput
from agentdb.integration.models import ConnectionStatus


@dataclass(frozen=True, slots=True)
class ConnectionEntry:
    """A connection without its tokens.

    Attributes:
        expires_at: when the access token does; None: nobody said.
        token_version: counts the tokens there were: `Connections.refresh` compares it.
    """

    id: int
    uuid: UUID
    user_id: int
    provider: str
    account_id: str
    status: ConnectionStatus
    scopes: Sequence[str]
    metadata: Mapping[str, Any]
    has_access_token: bool
    has_refresh_token: bool
    expires_at: datetime | None
    token_version: int
    connected_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gives: shown by no representation.

    Args:
        access_token: what its interface is called with.
        refresh_token: what the next tokens are asked for with; None: none, and after a refresh the one there was.
        expires_at: when the access token does, aware; None: nobody said.
        scopes: what it allows; None: as before.

    Raises: BadInput.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    scopes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _text(self.access_token, "an access token")
        if self.refresh_token is not None:
            _text(self.refresh_token, "a refresh token")
        if self.expires_at is not None:
            moment(self.expires_at, "expires_at")
        if self.scopes is not None:
            names(self.scopes)


@dataclass(frozen=True, slots=True)
class ToolCount:
    """How often a tool was used, and when last."""

    tool_name: str
    uses: int
    last_used_at: datetime


def names(scopes: Any) -> list[str]:
    """Return scopes.

    Raises: BadInput.
    """
    if isinstance(scopes, str) or not isinstance(scopes, Collection) or not all(map(is_text, scopes)):
        raise BadInput("scopes are a list of texts")
    return list(scopes)


def _text(value: Any, what: str) -> None:
    if not is_text(value) or not value:
        raise BadInput(f"{what} is a text that is not empty")
