"""How large a database is, and what is used of it, as the database itself counts.

Both kinds answer in the same words; what one does not count is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.config import Settings

SLOWEST: Final = 10
LONGEST_QUERY: Final = 500  # characters that are shown


@dataclass(frozen=True, slots=True)
class Storage:
    """What the database takes of the disk."""

    bytes: int
    log_bytes: int | None  # written ahead; None where this user may not see it
    free_bytes: int | None  # within the file, for rows to come


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table, and what it takes."""

    name: str
    rows: int | None  # None: nobody has estimated it yet
    bytes: int | None
    index_bytes: int | None


@dataclass(frozen=True, slots=True)
class IndexUse:
    """An index, and how often it was read since the server counts."""

    table: str
    name: str
    bytes: int | None
    scans: int | None


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """A statement, its values left out, and how long it took in all."""

    query: str
    calls: int
    seconds: float
    mean_seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Connections to the database."""

    application: str
    state: str
    count: int


_POSTGRESQL_STORAGE: Final = """
SELECT pg_database_size(current_database()),
    CASE WHEN has_function_privilege('pg_ls_waldir()', 'EXECUTE')
        THEN (SELECT sum(size)::bigint FROM pg_ls_waldir()) END,
    NULL::bigint
"""
_SQLITE_STORAGE: Final = """
SELECT (SELECT page_count FROM pragma_page_count) * page_size, NULL,
    (SELECT freelist_count FROM pragma_freelist_count) * page_size
FROM pragma_page_size
"""
_POSTGRESQL_TABLES: Final = """
SELECT c.relname, CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END, pg_table_size(c.oid), pg_indexes_size(c.oid)
FROM pg_class c WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY c.relname
"""
# Reads every page.
_SQLITE_TABLES: Final = """
SELECT t.name, NULL, sum(s.pgsize) FILTER (WHERE s.name = t.name),
    coalesce(sum(s.pgsize) FILTER (WHERE s.name <> t.name), 0)
FROM sqlite_master t JOIN sqlite_master o ON o.tbl_name = t.name
    JOIN (SELECT name, pgsize FROM dbstat WHERE aggregate = 1) s ON s.name = o.name
WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' GROUP BY t.name ORDER BY t.name
"""
_SQLITE_NAMES: Final = """
SELECT name, NULL, NULL, NULL FROM sqlite_master
WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name
"""
_POSTGRESQL_INDEXES: Final = """
SELECT relname, indexrelname, pg_relation_size(indexrelid), idx_scan FROM pg_stat_user_indexes
WHERE schemaname = current_schema() ORDER BY relname, indexrelname
"""
_SQLITE_INDEXES: Final = """
SELECT m.tbl_name, m.name, s.pgsize, NULL FROM sqlite_master m
    JOIN (SELECT name, pgsize FROM dbstat WHERE aggregate = 1) s ON s.name = m.name
WHERE m.type = 'index' ORDER BY m.tbl_name, m.name
"""
_SQLITE_INDEX_NAMES: Final = """
SELECT tbl_name, name, NULL, NULL FROM sqlite_master WHERE type = 'index' ORDER BY tbl_name, name
"""
# Values are left out by the server in these; in others, such as ALTER ROLE, a password would stand.
_SLOW: Final = """
SELECT regexp_replace(query, '\\s+', ' ', 'g'), calls, total_exec_time / 1000, mean_exec_time / 1000, rows
FROM {schema}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND query ~* '^\\s*(select|insert|update|delete|with|merge)\\M'
ORDER BY total_exec_time DESC LIMIT :most
"""
_SLOW_IS_THERE: Final = (
    "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
    " WHERE e.extname = 'pg_stat_statements'"
)
_SESSIONS: Final = """
SELECT coalesce(application_name, ''), coalesce(state, 'unknown'), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2 ORDER BY 1, 2
"""


async def storage(connection: AsyncConnection) -> Storage:
    """Return what the database takes; the log of a file is beside it, and not counted here."""
    (row,) = await _rows(connection, _SQLITE_STORAGE if _is_file(connection) else _POSTGRESQL_STORAGE)
    return Storage(*row)


async def table_sizes(connection: AsyncConnection, *, exact: bool) -> list[TableSize]:
    """Return every table.

    Args: exact: count the rows, and on SQLite measure every page, which reads all of the database.
    """
    if not _is_file(connection):
        found = await _rows(connection, _POSTGRESQL_TABLES)
    else:
        found = await _rows(connection, _SQLITE_TABLES if exact and await _measures(connection) else _SQLITE_NAMES)
    sizes = [TableSize(*row) for row in found]
    return [await _counted(connection, size) for size in sizes] if exact else sizes


async def _counted(connection: AsyncConnection, size: TableSize) -> TableSize:
    rows = await connection.scalar(select(func.count()).select_from(table(size.name)))
    return TableSize(size.name, rows, size.bytes, size.index_bytes)


async def index_use(connection: AsyncConnection, *, exact: bool) -> list[IndexUse]:
    """Return every index; SQLite does not count how often it reads one."""
    if not _is_file(connection):
        found = await _rows(connection, _POSTGRESQL_INDEXES)
    else:
        found = await _rows(
            connection, _SQLITE_INDEXES if exact and await _measures(connection) else _SQLITE_INDEX_NAMES
        )
    return [IndexUse(*row) for row in found]


async def slow_queries(connection: AsyncConnection, most: int = SLOWEST) -> list[SlowQuery] | None:
    """Return what took longest in all; None where nobody counts: the extension pg_stat_statements does."""
    if _is_file(connection):
        return None
    schema = await connection.scalar(text(_SLOW_IS_THERE))
    if schema is None:
        return None
    try:
        async with connection.begin_nested():
            found = await _rows(connection, _SLOW.format(schema=schema), most=most)
    except DBAPIError:  # it is made, and not among shared_preload_libraries
        return None
    return [SlowQuery(row[0][:LONGEST_QUERY], *row[1:]) for row in found]


async def sessions(connection: AsyncConnection) -> tuple[list[Sessions], int | None]:
    """Return who is connected, and how many may be; a file has no sessions."""
    if _is_file(connection):
        return [], None
    most = await connection.scalar(text("SELECT current_setting('max_connections')::int"))
    return [Sessions(*row) for row in await _rows(connection, _SESSIONS)], most


def _is_file(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "sqlite"


async def _measures(connection: AsyncConnection) -> bool:
    """Tell whether this SQLite was built to measure its pages."""
    options = await _rows(connection, "SELECT 1 FROM pragma_module_list WHERE name = 'dbstat'")
    return bool(options)


async def _rows(connection: AsyncConnection, query: str, **parameters: Any) -> Sequence[Any]:
    return (await connection.execute(text(query), parameters)).all()


def file_connections(settings: Settings) -> int:
    """Return how many connections a process has to a file: its readers and the writer."""
    return settings.sqlite_readers + 1
