"""The reads of conversations on the bare drivers: the latest messages of one, and a user's list."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from benchmarks import bare_postgresql, bare_sqlite
from benchmarks.adapter import Place
from benchmarks.bare_postgresql import BarePostgreSQL
from benchmarks.bare_sqlite import BareSQLite
from benchmarks.rows import CONVERSATION, ConversationRow


@dataclass(slots=True)
class SaidRow:
    id: int
    conversation_id: int
    position: int
    parent_id: int | None
    role: str
    content: Any
    name: str | None
    tool_call_id: str | None
    metadata: Any
    tokens: int | None
    created_at: datetime
    updated_at: datetime


_NAMES: Final = ", ".join(field.name for field in fields(SaidRow))
_LATEST: Final = (
    f"SELECT {_NAMES} FROM messages WHERE conversation_id = "
    "(SELECT id FROM conversations WHERE id = $1 AND deleted_at IS NULL) ORDER BY position DESC LIMIT $2"
)
_RECENT: Final = (
    f"SELECT {CONVERSATION} FROM conversations WHERE user_id = $1 AND deleted_at IS NULL "
    "AND last_message_at IS NOT NULL ORDER BY last_message_at DESC, id DESC LIMIT $2"
)


class BareTalk:
    """A bare driver's appends, which `benchmarks.bare_postgresql` and `benchmarks.bare_sqlite` make, and its reads."""

    def __init__(self, bare: BarePostgreSQL | BareSQLite) -> None:
        self._bare = bare

    async def append(self, conversation: int, content: Any) -> Any:
        return await self._bare.append(conversation, content)

    async def latest(self, conversation: int, limit: int) -> list[SaidRow]:
        rows = [SaidRow(*row) for row in await self._read(_LATEST, conversation, limit)]
        for row in rows:
            row.content, row.metadata = json.loads(row.content), json.loads(row.metadata)
            row.created_at, row.updated_at = _moment(row.created_at), _moment(row.updated_at)
        rows.reverse()
        return rows

    async def recent(self, user: int, limit: int) -> list[ConversationRow]:
        found = await self._read(_RECENT, user, limit + 1)
        rows = [ConversationRow(*row) for row in found][:limit]
        for row in rows:
            row.uuid = _key(row.uuid)
            row.session_context, row.metadata = json.loads(row.session_context), json.loads(row.metadata)
            row.created_at, row.updated_at = _moment(row.created_at), _moment(row.updated_at)
            row.last_message_at = row.last_message_at and _moment(row.last_message_at)
        return rows

    async def _read(self, text: str, *arguments: Any) -> list[Any]:
        if isinstance(self._bare, BarePostgreSQL):
            return await self._bare.fetch(text, *arguments)
        return self._bare.raw.execute(text.replace("$", "?"), arguments).fetchall()


def _key(told: uuid.UUID | str) -> uuid.UUID:
    return uuid.UUID(told) if isinstance(told, str) else told


def _moment(told: datetime | str) -> datetime:
    return datetime.fromisoformat(told) if isinstance(told, str) else told


@asynccontextmanager
async def bare_talk(place: Place) -> AsyncIterator[BareTalk]:
    """Open a bare driver on a database."""
    bare = await (bare_postgresql if place.path is None else bare_sqlite).open_on(place)
    try:
        yield BareTalk(bare)
    finally:
        await bare.close()
