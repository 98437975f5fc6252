"""What is told of conversations that is not a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agentdb.conversation.models import MessageRole, Resource


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens messages of a conversation have."""

    messages: int
    counted: int  # of which the tokens are known
    tokens: int


@dataclass(frozen=True, slots=True)
class RoleCount:
    """How much one role said in a conversation."""

    role: MessageRole
    messages: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Branch:
    """One way through a conversation's tree, from a message without parent to one without children."""

    leaf_id: int
    root_id: int
    messages: int  # on the way, both ends included
    last_position: int
    last_message_at: datetime


@dataclass(frozen=True, slots=True)
class StoredText:
    """A resource and the pieces its text was split into, in order: what is embedded is a piece."""

    resource: Resource
    pieces: list[str]
