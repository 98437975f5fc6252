"""What the databases hold before anything is measured, written by the servers themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks.adapter import CONVERSATIONS, COSTS, LONG, SHORT, SHORT_SESSIONS, SPENDER, USERS


@dataclass(frozen=True, slots=True)
class Spelling:
    """What the two databases write differently.

    Attributes:
        to: the numbers n from 1 to so many.
        earlier: a moment n minutes ago.
        json: what turns a text into JSON.
    """

    to: Callable[[int], str]
    uuid: str
    now: str
    earlier: str
    json: str


POSTGRESQL: Final = Spelling(
    to=lambda many: f"(SELECT n FROM generate_series(1, {many}) AS g(n))",
    uuid="gen_random_uuid()",
    now="now()",
    earlier="now() - n * interval '1 minute'",
    json="::jsonb",
)

SQLITE: Final = Spelling(
    to=lambda many: (
        f"(WITH RECURSIVE g(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM g WHERE n < {many}) SELECT n FROM g)"
    ),
    uuid="printf('%s-%s-%s-%s-%s', lower(hex(randomblob(4))), lower(hex(randomblob(2))), lower(hex(randomblob(2))), "
    "lower(hex(randomblob(2))), lower(hex(randomblob(6))))",
    now="strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')",
    earlier="strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-' || n || ' minutes')",
    json="",
)


def _statements(spelled: Spelling, adapters: int) -> list[str]:
    uuid, now, json = spelled.uuid, spelled.now, spelled.json
    context = """'{"locale":"en","step":' || n || ',"tools":["search","shell"],"sandbox":{"network":false,"cpu":2}}'"""
    metadata = """'{"origin":"benchmark","tags":["a","b"]}'"""
    each = SHORT_SESSIONS + 1  # the last of an adapter's sessions is the long one
    sessions, owner = spelled.to(adapters * each), f"n % {USERS} + 1"
    return [
        (
            "INSERT INTO users (uuid, username, created_at, updated_at) "
            f"SELECT {uuid}, 'user' || n, {now}, {now} FROM {spelled.to(USERS)} AS s ORDER BY n"
        ),
        (
            "INSERT INTO conversations"
            " (uuid, user_id, title, session_context, metadata, last_message_at, created_at, updated_at) "
            f"SELECT {uuid}, {owner}, 'Conversation ' || n, ({context}){json}, ({metadata}){json}, {now}, {now}, {now} "
            f"FROM {spelled.to(CONVERSATIONS)} AS s ORDER BY n"
        ),
        f"INSERT INTO runs (id, user_id, created_at) SELECT n, {owner}, {now} FROM {sessions} AS s",
        (
            "INSERT INTO run_session"
            " (id, user_id, run_id, session_id, last_active, model_name, created_at, updated_at) "
            f"SELECT n, {owner}, n, 1, {now}, 'gpt-4o', {now}, {now} FROM {sessions} AS s"
        ),
        (
            "INSERT INTO context_log (run_session_id, role, source, message, created_at) "
            f"SELECT s.n, 'llm', 'console', 'An entry that was there before', {now} FROM {sessions} AS s "
            f"JOIN {spelled.to(LONG)} AS e ON e.n <= CASE WHEN s.n % {each} = 0 THEN {LONG} ELSE {SHORT} END "
            "ORDER BY s.n, e.n"
        ),
        (
            "INSERT INTO costs (user_id, model, source, input_tokens, output_tokens, cost, created_at) "
            f"SELECT CASE WHEN n % 10 = 0 THEN {SPENDER} ELSE n % {USERS - 1} + 2 END, 'gpt-4o', 'chat', 1200, 300, "
            f"3100000, {spelled.earlier} FROM {spelled.to(COSTS)} AS s"
        ),
    ]


async def seed_postgresql(server: Mapping[str, Any], adapters: int) -> None:
    """Fill a PostgreSQL database whose schema is there."""
    connection = await asyncpg.connect(**server)
    try:
        for statement in [*_statements(POSTGRESQL, adapters), "VACUUM ANALYZE", "CHECKPOINT"]:
            await connection.execute(statement)
    finally:
        await connection.close()


def seed_sqlite(path: Path, adapters: int) -> None:
    """Fill a SQLite file whose schema is there, and fold its write-ahead log into it."""
    raw = sqlite3.connect(path, isolation_level=None)
    try:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("BEGIN")
        for statement in _statements(SQLITE, adapters):
            raw.execute(statement)
        raw.execute("COMMIT")
        raw.execute("ANALYZE")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.close()
