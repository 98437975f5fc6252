"""asyncpg as quick as it gets by hand: connections in a deque, given back without a reset query."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from agentdb.types import uuid7
from benchmarks.adapter import DEEP, PAGE, POOL, Place, Totals, totals_of
from benchmarks.rows import CONVERSATION, GIVEN, ConversationRow, EntryRow, MessageRow

NAME = "bare driver"

_GET: Final = f"SELECT {CONVERSATION} FROM conversations WHERE id = $1"
_PAGE: Final = f"SELECT {CONVERSATION} FROM conversations ORDER BY id LIMIT $1"
_PAGE_AFTER: Final = f"SELECT {CONVERSATION} FROM conversations WHERE id > $1 ORDER BY id LIMIT $2"
_INSERT: Final = (
    f"INSERT INTO conversations ({', '.join(GIVEN)}) "
    f"VALUES ({', '.join(f'${place}' for place in range(1, len(GIVEN) + 1))}) RETURNING id"
)
_LOG: Final = (
    "INSERT INTO context_log (run_session_id, role, source, message, created_at) VALUES ($1, $2, $3, $4, $5) "
    "RETURNING id, tx"
)
_COUNT: Final = (
    "UPDATE run_session SET total_lines = total_lines + $2, latest_log_id = greatest(latest_log_id, $3), "
    "last_active = $4, updated_at = $4 WHERE id = $1 RETURNING user_id"
)
_NOTIFY: Final = (
    "INSERT INTO user_notifications (user_id, latest_log_id, last_active, created_at, updated_at) "
    "VALUES ($1, $2, $3, $3, $3) ON CONFLICT (user_id) DO UPDATE SET "
    "latest_log_id = greatest(user_notifications.latest_log_id, excluded.latest_log_id), "
    "last_active = excluded.last_active, updated_at = excluded.updated_at, tx = pg_current_xact_id()::text::bigint"
)
_MOVE: Final = (
    "UPDATE conversations SET last_position = last_position + 1, last_message_at = $2, updated_at = $2 "
    "WHERE id = $1 AND deleted_at IS NULL RETURNING last_position"
)
_APPEND: Final = (
    "INSERT INTO messages (conversation_id, position, role, content, metadata, created_at, updated_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id"
)
_SUM: Final = """
    SELECT sum(calls)::bigint, sum(i)::bigint, sum(o)::bigint, sum(w)::bigint, sum(r)::bigint, sum(c)::bigint FROM (
        SELECT count(*) AS calls, coalesce(sum(input_tokens), 0) AS i, coalesce(sum(output_tokens), 0) AS o,
            coalesce(sum(cache_write_tokens), 0) AS w, coalesce(sum(cache_read_tokens), 0) AS r,
            coalesce(sum(cost), 0) AS c
        FROM costs WHERE user_id = $1
        UNION ALL
        SELECT coalesce(sum(calls), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
            coalesce(sum(cache_write_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(cost), 0)
        FROM cost_days WHERE user_id = $1
    ) AS parts
"""
_COUNTED: Final = (
    "SELECT s.total_lines, s.latest_log_id, coalesce(n.latest_log_id, 0) FROM run_session s "
    "LEFT JOIN user_notifications n ON n.user_id = s.user_id WHERE s.id = $1"
)


class BarePostgreSQL:
    """Statements by hand."""

    def __init__(self, place: Place, connections: list[Any]) -> None:
        self.place = place
        self.idle = deque(connections)
        self.places = asyncio.Semaphore(len(connections))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with self.places:
            connection = self.idle.pop()
            try:
                yield connection
            finally:
                self.idle.append(connection)

    async def fetch(self, text: str, *arguments: Any) -> list[Any]:
        async with self.places:
            connection = self.idle.pop()
            try:
                rows: list[Any] = await connection.fetch(text, *arguments)
            finally:
                self.idle.append(connection)
        return rows

    async def close(self) -> None:
        for connection in self.idle:
            await connection.close()

    async def get(self, key: int) -> ConversationRow:
        return conversation((await self.fetch(_GET, key))[0])

    async def insert(self, row: Mapping[str, Any]) -> ConversationRow:
        arguments = bound(row)
        (made,) = await self.fetch(_INSERT, *arguments)
        return complete(made[0], arguments, row)

    async def page(self, *, deep: bool) -> list[ConversationRow]:
        found = await (self.fetch(_PAGE_AFTER, DEEP, PAGE + 1) if deep else self.fetch(_PAGE, PAGE + 1))
        return [conversation(row) for row in found][:PAGE]

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        records = [bound(row) for row in rows]
        async with self.connection() as connection:
            await connection.copy_records_to_table("conversations", records=records, columns=GIVEN)
        return len(records)

    async def log(self, session: int, message: str) -> EntryRow:
        now = datetime.now(UTC)
        async with self.connection() as connection, connection.transaction():
            made, tx = await connection.fetchrow(_LOG, session, "llm", "console", message, now)
            lines = message.count("\n") + 1
            user = await connection.fetchval(_COUNT, session, lines, made, now)
            await connection.execute(_NOTIFY, user, made, now)
        return EntryRow(made, session, "llm", "console", message, tx, now)

    async def append(self, conversation: int, content: Any) -> MessageRow:
        now = datetime.now(UTC)
        encoded = json.dumps(content)
        async with self.connection() as connection, connection.transaction():
            position = await connection.fetchval(_MOVE, conversation, now)
            made = await connection.fetchval(_APPEND, conversation, position, "user", encoded, "{}", now)
        return MessageRow(made, conversation, position, "user", content, {}, now, now)

    async def total(self, user: int) -> Totals:
        (row,) = await self.fetch(_SUM, user)
        return totals_of(*row)

    async def counted(self, session: int) -> tuple[int, int, int]:
        (row,) = await self.fetch(_COUNTED, session)
        return row[0], row[1], row[2]


def conversation(row: Any) -> ConversationRow:
    """Return a row with its JSON decoded."""
    made = ConversationRow(*row)
    made.session_context = json.loads(made.session_context)
    made.metadata = json.loads(made.metadata)
    return made


def bound(row: Mapping[str, Any]) -> list[Any]:
    """Return the values of a new conversation, in the order of GIVEN."""
    now = datetime.now(UTC)
    context, metadata = json.dumps(row["session_context"]), json.dumps(row["metadata"])
    return [
        uuid7(),
        None,
        row["user_id"],
        None,
        None,
        row["title"],
        context,
        metadata,
        None,
        0,
        None,
        None,
        now,
        now,
    ]


def complete(key: int, arguments: list[Any], row: Mapping[str, Any]) -> ConversationRow:
    """Return the row that an insert made."""
    made = ConversationRow(key, *arguments)
    made.session_context, made.metadata = row["session_context"], row["metadata"]
    return made


async def open_on(place: Place) -> BarePostgreSQL:
    return BarePostgreSQL(place, [await asyncpg.connect(**place.server) for _ in range(POOL)])
