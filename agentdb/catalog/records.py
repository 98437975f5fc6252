"""What the catalog's lists and imports return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agentdb.catalog.models import Agent, Tool


@dataclass(frozen=True, slots=True)
class PriceReport:
    """What an import of prices did: how many models of each kind, and how many prices were rounded to nine places."""

    added: int
    changed: int
    unchanged: int
    kept: int  # custom models, which no import overwrites
    providers_added: int
    rounded: int


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """A provider without its key.

    Attributes:
        has_api_key: whether a key is stored, sealed.
        api_key_variable: the variable that holds the key instead.
    """

    id: int
    uuid: UUID
    name: str
    api_type: str | None
    endpoint: str | None
    has_api_key: bool
    api_key_variable: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AgentOfUser:
    """An agent that a user may use, and as what."""

    id: int  # of the assignment
    user_id: int
    role: str | None
    agent: Agent


@dataclass(frozen=True, slots=True)
class ToolOfUser:
    """A tool that a user may use, without the credential it is used with."""

    id: int  # of the assignment
    uuid: UUID
    user_id: int
    tool: Tool
    has_credential: bool
