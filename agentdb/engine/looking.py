"""A look at a whole database: one snapshot, read past any pooler, for as long as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.config import Settings
from agentdb.engine.schema.direct import connected
from agentdb.errors import NotFound

_WITHOUT_LIMITS: Final = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN"
    " ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
)
_VECTOR: Final = (
    "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
)


@asynccontextmanager
async def looking(settings: Settings, path: Path | None = None) -> AsyncIterator[AsyncConnection]:
    """Yield a connection in a transaction that only reads, and sees one moment of the database.

    Args:
        settings: which database; an embedded server runs already.
        path: the file of a database in memory, which the settings do not know.

    Raises: NotFound when there is no such file; BadSettings or Unavailable when the database cannot be reached.
    """
    file = path or settings.target.path
    if settings.direct.kind != "postgresql" and (file is None or not file.exists()):
        raise NotFound(f"there is no database file {file}")
    async with connected(settings, path) as connection:
        if settings.direct.kind == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            await connection.exec_driver_sql(_WITHOUT_LIMITS)
        else:
            await connection.exec_driver_sql("PRAGMA query_only = ON")
            await connection.exec_driver_sql("BEGIN")
        yield connection


async def schema_of(connection: AsyncConnection) -> str | None:
    """Return the schema in which a server's database has its tables; None for a file, which has none."""
    if connection.dialect.name == "sqlite":
        return None
    schema: str | None = await connection.scalar(text("SELECT current_schema()"))
    return schema


def vector_schema(connection: Connection) -> str | None:
    """Return the schema in which pgvector is, which a dump names wherever it speaks of a vector; None on SQLite."""
    if connection.dialect.name == "sqlite":
        return None
    schema: str | None = connection.scalar(text(_VECTOR))
    return schema
