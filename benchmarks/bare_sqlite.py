"""The standard library's sqlite3, called synchronously in the event loop's own thread."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from agentdb.types import uuid7
from benchmarks.adapter import DEEP, PAGE, Place, Totals, totals_of
from benchmarks.rows import CONVERSATION, GIVEN, ConversationRow, EntryRow, MessageRow

NAME = "bare driver"

# As agentdb sets its writer, and every peer its connections here.
PRAGMAS: Final[Mapping[str, str | int]] = {
    "busy_timeout": 30_000,
    "journal_mode": "WAL",
    "synchronous": "NORMAL",
    "foreign_keys": "ON",
    "recursive_triggers": "ON",
    "cache_size": -65_536,
    "temp_store": "MEMORY",
}

_GET: Final = f"SELECT {CONVERSATION} FROM conversations WHERE id = ?"
_PAGE: Final = f"SELECT {CONVERSATION} FROM conversations ORDER BY id LIMIT ?"
_PAGE_AFTER: Final = f"SELECT {CONVERSATION} FROM conversations WHERE id > ? ORDER BY id LIMIT ?"
_INSERT_MANY: Final = f"INSERT INTO conversations ({', '.join(GIVEN)}) VALUES ({', '.join('?' * len(GIVEN))})"
_INSERT: Final = f"{_INSERT_MANY} RETURNING id"
_LOG: Final = (
    "INSERT INTO context_log (run_session_id, role, source, message, created_at) VALUES (?, ?, ?, ?, ?) "
    "RETURNING id, tx"
)
_COUNT: Final = (
    "UPDATE run_session SET total_lines = total_lines + ?, latest_log_id = max(latest_log_id, ?), "
    "last_active = ?, updated_at = ? WHERE id = ? RETURNING user_id"
)
_NOTIFY: Final = (
    "INSERT INTO user_notifications (user_id, latest_log_id, last_active, created_at, updated_at) "
    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET "
    "latest_log_id = max(latest_log_id, excluded.latest_log_id), "
    "last_active = excluded.last_active, updated_at = excluded.updated_at, tx = 0"
)
MOVE: Final = (
    "UPDATE conversations SET last_position = last_position + 1, last_message_at = ?, updated_at = ? "
    "WHERE id = ? AND deleted_at IS NULL RETURNING last_position"
)
APPEND: Final = (
    "INSERT INTO messages (conversation_id, position, role, content, metadata, created_at, updated_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id"
)
_SUM: Final = """
    SELECT sum(calls), sum(i), sum(o), sum(w), sum(r), sum(c) FROM (
        SELECT count(*) AS calls, coalesce(sum(input_tokens), 0) AS i, coalesce(sum(output_tokens), 0) AS o,
            coalesce(sum(cache_write_tokens), 0) AS w, coalesce(sum(cache_read_tokens), 0) AS r,
            coalesce(sum(cost), 0) AS c
        FROM costs WHERE user_id = ?1
        UNION ALL
        SELECT coalesce(sum(calls), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
            coalesce(sum(cache_write_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(cost), 0)
        FROM cost_days WHERE user_id = ?1
    ) AS parts
"""
_COUNTED: Final = (
    "SELECT s.total_lines, s.latest_log_id, coalesce(n.latest_log_id, 0) FROM run_session s "
    "LEFT JOIN user_notifications n ON n.user_id = s.user_id WHERE s.id = ?"
)


class BareSQLite:
    """Statements by hand."""

    def __init__(self, place: Place, raw: sqlite3.Connection) -> None:
        self.place = place
        self.raw = raw

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.raw.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.raw.execute("ROLLBACK")
            raise
        self.raw.execute("COMMIT")

    def one(self, text: str, *arguments: Any) -> Any:
        return self.raw.execute(text, arguments).fetchall()[0]

    async def close(self) -> None:
        self.raw.close()

    async def get(self, key: int) -> ConversationRow:
        return conversation(self.one(_GET, key))

    async def insert(self, row: Mapping[str, Any]) -> ConversationRow:
        now = datetime.now(UTC)
        key = uuid7()
        (made,) = self.one(_INSERT, *bound(row, key, now))
        return ConversationRow(
            made,
            key,
            None,
            row["user_id"],
            None,
            None,
            row["title"],
            row["session_context"],
            row["metadata"],
            None,
            0,
            None,
            None,
            now,
            now,
        )

    async def page(self, *, deep: bool) -> list[ConversationRow]:
        cursor = self.raw.execute(_PAGE_AFTER, (DEEP, PAGE + 1)) if deep else self.raw.execute(_PAGE, (PAGE + 1,))
        return [conversation(row) for row in cursor.fetchall()][:PAGE]

    async def pour(self, rows: list[dict[str, Any]]) -> int:
        now = datetime.now(UTC)
        records = [bound(row, uuid7(), now) for row in rows]
        with self.transaction():
            self.raw.executemany(_INSERT_MANY, records)
        return len(records)

    async def log(self, session: int, message: str) -> EntryRow:
        moment = datetime.now(UTC)
        now = moment.isoformat(timespec="microseconds")
        with self.transaction():
            made, tx = self.one(_LOG, session, "llm", "console", message, now)
            (user,) = self.one(_COUNT, message.count("\n") + 1, made, now, now, session)
            self.raw.execute(_NOTIFY, (user, made, now, now, now))
        return EntryRow(made, session, "llm", "console", message, tx, moment)

    async def append(self, conversation: int, content: Any) -> MessageRow:
        moment = datetime.now(UTC)
        now = moment.isoformat(timespec="microseconds")
        encoded = json.dumps(content)
        with self.transaction():
            (position,) = self.one(MOVE, now, now, conversation)
            (made,) = self.one(APPEND, conversation, position, "user", encoded, "{}", now, now)
        return MessageRow(made, conversation, position, "user", content, {}, moment, moment)

    async def total(self, user: int) -> Totals:
        return totals_of(*self.one(_SUM, user))

    async def counted(self, session: int) -> tuple[int, int, int]:
        lines, latest, newest = self.one(_COUNTED, session)
        return lines, latest, newest


def conversation(row: Any) -> ConversationRow:
    """Return a row with its JSON, its UUID and its times decoded."""
    made = ConversationRow(*row)
    made.uuid = uuid.UUID(row[1])
    made.session_context = json.loads(row[7])
    made.metadata = json.loads(row[8])
    made.last_message_at = row[11] and datetime.fromisoformat(row[11])
    made.deleted_at = row[12] and datetime.fromisoformat(row[12])
    made.created_at = datetime.fromisoformat(row[13])
    made.updated_at = datetime.fromisoformat(row[14])
    return made


def bound(row: Mapping[str, Any], key: uuid.UUID, moment: datetime) -> list[Any]:
    """Return the values of a new conversation, in the order of GIVEN."""
    now = moment.isoformat(timespec="microseconds")
    context, metadata = json.dumps(row["session_context"]), json.dumps(row["metadata"])
    return [
        str(key),
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


async def open_on(place: Place) -> BareSQLite:
    raw = sqlite3.connect(place.path or "", isolation_level=None, cached_statements=512)
    for name, value in PRAGMAS.items():
        raw.execute(f"PRAGMA {name} = {value}").fetchall()
    return BareSQLite(place, raw)
