"""What the bare drivers' rows become: plain classes with the columns in their order."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any


@dataclass(slots=True)
class ConversationRow:
    id: int
    uuid: uuid.UUID
    key: str | None
    user_id: int
    agent_id: int | None
    session_id: int | None
    title: str
    session_context: Any
    metadata: Any
    summary_message_id: int | None
    last_position: int
    last_message_at: datetime | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class MessageRow:
    id: int
    conversation_id: int
    position: int
    role: str
    content: Any
    metadata: Any
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class EntryRow:
    id: int
    run_session_id: int
    role: str
    source: str | None
    message: str
    tx: int
    created_at: datetime


CONVERSATION = ", ".join(field.name for field in fields(ConversationRow))
# All but the id: what an insert binds.
GIVEN = [field.name for field in fields(ConversationRow)][1:]
