"""What a database says of its own health: versions, its clock, who holds it up, what is broken, what piles up.

Each kind tells what it knows; what has no meaning for one is None, or nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.config import OLDEST_SQLITE
from agentdb.engine.postgresql.engine import OLDEST as OLDEST_POSTGRESQL
from agentdb.engine.schema.direct import OLDEST_VECTOR, telling
from agentdb.urls import Target

QUESTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Software:
    """A program that has to be new enough."""

    name: str
    version: str | None  # None: it is not there
    oldest: str  # that is supported
    fits: bool


@dataclass(frozen=True, slots=True)
class LongTransaction:
    """A transaction that holds rows, locks and the log of changes for everybody."""

    process: int
    application: str
    user: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Piled:
    """Something that waits to be taken up, and how much."""

    what: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Replica:
    """What a replica says of itself."""

    follows: bool  # whether it is one
    behind_seconds: float | None  # None: it has nothing to catch up with, or has never begun


_SERVER: Final = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,
    (SELECT extversion FROM pg_extension WHERE extname = 'vector')
"""
_LONG: Final = """
SELECT pid, coalesce(application_name, ''), coalesce(usename, ''), coalesce(state, 'unknown'),
    extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND xact_start < clock_timestamp() - make_interval(secs => :seconds)
UNION ALL
SELECT 0, gid, owner, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => :seconds)
ORDER BY 5 DESC
"""
_INVALID: Final = """
SELECT c.relname || '.' || i.relname
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
WHERE NOT (x.indisvalid AND x.indisready) AND c.relnamespace = quote_ident(current_schema())::regnamespace
    -- One that is being made right now is not broken.
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid)
ORDER BY 1
"""
# On a replica there is no current place in the log, only the last that was replayed.
_SLOTS: Final = """
SELECT 'replication slot ' || slot_name || CASE WHEN active THEN '' ELSE ', which nobody reads' END,
    greatest(pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn
    ), 0)::bigint
FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY 1
"""
_SESSIONS: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int,
    current_setting('max_connections')::int
"""
_REPLICA: Final = """
SELECT pg_is_in_recovery(), CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8
"""


async def software(connection: AsyncConnection) -> list[Software]:
    """Return the programs that the database is made of."""
    if _is_file(connection):
        oldest = ".".join(map(str, OLDEST_SQLITE))
        fits = sqlite3.sqlite_version_info >= OLDEST_SQLITE
        return [Software("SQLite", sqlite3.sqlite_version, oldest, fits)]
    ((version, major, vector),) = await _rows(connection, _SERVER)
    numbers = tuple(int(part) for part in (vector or "0").split(".") if part.isdigit())
    return [
        Software("PostgreSQL", version, str(OLDEST_POSTGRESQL), major >= OLDEST_POSTGRESQL),
        Software("pgvector", vector, ".".join(map(str, OLDEST_VECTOR)), numbers >= OLDEST_VECTOR),
    ]


async def clock_ahead(connection: AsyncConnection) -> float | None:
    """Return how many seconds the server's clock is ahead of this machine's; None where both are one.

    It is taken from the quickest of a few answers: half of the time that took is the way there.
    """
    if _is_file(connection):
        return None
    quickest, ahead = float("inf"), 0.0
    for _ in range(QUESTIONS):
        asked = datetime.now(UTC)
        there = await connection.scalar(text("SELECT clock_timestamp()"))
        took = (datetime.now(UTC) - asked).total_seconds()
        if took < quickest and there is not None:
            quickest, ahead = took, (there - asked).total_seconds() - took / 2
    return ahead


async def long_transactions(connection: AsyncConnection, seconds: float) -> list[LongTransaction]:
    """Return the transactions on this database that have been open for longer; a file does not tell."""
    if _is_file(connection):
        return []
    return [LongTransaction(*row) for row in await _rows(connection, _LONG, seconds=seconds)]


async def invalid_indexes(connection: AsyncConnection, *, thorough: bool) -> list[str]:
    """Return what is broken: indexes that a server does not use; of a file, damage that a check of its pages finds.

    Args: thorough: of a file, compare each index with its table too, which reads all of it several times.
    """
    if not _is_file(connection):
        return [row[0] for row in await _rows(connection, _INVALID)]
    check = "integrity_check" if thorough else "quick_check"
    return [row[0] for row in await _rows(connection, f"PRAGMA {check}(20)") if row[0] != "ok"]


async def kept_log(connection: AsyncConnection) -> list[Piled]:
    """Return who keeps a server from recycling its log, and how much of it."""
    return [] if _is_file(connection) else [Piled(*row) for row in await _rows(connection, _SLOTS)]


async def sessions(connection: AsyncConnection) -> tuple[int, int] | None:
    """Return how many are connected to the server, and how many may be; a file has no limit."""
    if _is_file(connection):
        return None
    ((there, most),) = await _rows(connection, _SESSIONS)
    return there, most


async def answer(target: Target, timeout_seconds: float) -> None:
    """See that a server, or the pooler before it, answers.

    Raises: BadSettings or Unavailable.
    """
    with telling("connecting"):
        connection = await asyncpg.connect(
            **target.connect_arguments(), timeout=timeout_seconds, statement_cache_size=0
        )
        try:
            await connection.execute("SELECT 1", timeout=timeout_seconds)
        finally:
            await connection.close(timeout=timeout_seconds)


async def replica(target: Target, timeout_seconds: float) -> Replica:
    """Ask a server whether it is a replica, and how far it is behind.

    Raises: BadSettings or Unavailable.
    """
    with telling("connecting"):
        connection = await asyncpg.connect(
            **target.connect_arguments(), timeout=timeout_seconds, statement_cache_size=0
        )
        try:
            row = await connection.fetchrow(_REPLICA, timeout=timeout_seconds)
        finally:
            await connection.close(timeout=timeout_seconds)
    return Replica(*row)


def _is_file(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "sqlite"


async def _rows(connection: AsyncConnection, query: str, **parameters: Any) -> Sequence[Any]:
    return (await connection.execute(text(query), parameters)).all()
