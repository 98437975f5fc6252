"""The reads of conversations on the bare drivers: the latest messages of one, and a user's list."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

import aiosqlite

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


def said(found: Iterable[Sequence[Any]]) -> list[SaidRow]:
    """Return messages, the oldest first, with their JSON and their times decoded."""
    rows = [SaidRow(*row) for row in found]
    for row in rows:
        row.content, row.metadata = json.loads(row.content), json.loads(row.metadata)
        row.created_at, row.updated_at = _moment(row.created_at), _moment(row.updated_at)
    rows.reverse()
    return rows


class BareTalk:
    """A bare driver's appends, which `benchmarks.bare_postgresql` and `benchmarks.bare_sqlite` make, and its reads."""

    def __init__(self, bare: BarePostgreSQL | BareSQLite) -> None:
        self._bare = bare

    async def append(self, conversation: int, content: Any) -> Any:
        return await self._bare.append(conversation, content)

    async def latest(self, conversation: int, limit: int) -> list[SaidRow]:
        return said(await self._read(_LATEST, conversation, limit))

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


class AiosqliteTalk:
    """The same by aiosqlite, which hops to its thread for each statement."""

    def __init__(self, raw: aiosqlite.Connection) -> None:
        self._raw = raw

    async def append(self, conversation: int, content: Any) -> int:
        moment = datetime.now(UTC).isoformat(timespec="microseconds")
        encoded = json.dumps(content)
        await self._raw.execute("BEGIN IMMEDIATE")
        try:
            ((position,),) = await self._raw.execute_fetchall(bare_sqlite.MOVE, (moment, moment, conversation))
            values = (conversation, position, "user", encoded, "{}", moment, moment)
            ((made,),) = await self._raw.execute_fetchall(bare_sqlite.APPEND, values)
        except BaseException:
            await self._raw.rollback()
            raise
        await self._raw.commit()
        return int(made)

    async def latest(self, conversation: int, limit: int) -> list[SaidRow]:
        return said(await self._raw.execute_fetchall(_LATEST.replace("$", "?"), (conversation, limit)))


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


@asynccontextmanager
async def aiosqlite_talk(place: Place) -> AsyncIterator[AiosqliteTalk]:
    """Open aiosqlite on a file, set as the others are."""
    async with aiosqlite.connect(place.path or "", isolation_level=None, cached_statements=512) as raw:
        for name, value in bare_sqlite.PRAGMAS.items():
            await raw.execute_fetchall(f"PRAGMA {name} = {value}")
        yield AiosqliteTalk(raw)
