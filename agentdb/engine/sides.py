"""Which side of a move a connection is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.config import Settings
from agentdb.engine.looking import looking
from agentdb.engine.moving import Side
from agentdb.engine.postgresql.moving import ServerSide
from agentdb.engine.schema.direct import connected
from agentdb.engine.sqlite.moving import FileSide

_CACHE_KIB: Final = 256 * 1024
_SCHEMA: Final = text("SELECT current_schema()")
_HELD: Final = text("SELECT pg_advisory_lock(:number)")
_LET_GO: Final = text("SELECT pg_advisory_unlock(:number)")
_TAKEN: Final = text("SELECT NOT pg_try_advisory_lock(:number)")


@asynccontextmanager
async def source_side(settings: Settings) -> AsyncIterator[Side]:
    """Yield the side that is read: one moment of a database, which nothing changes.

    Raises: NotFound when there is no such file; BadSettings or Unavailable when it cannot be reached.
    """
    async with looking(settings) as connection:
        yield await _over(connection)


@asynccontextmanager
async def target_side(settings: Settings) -> AsyncIterator[Side]:
    """Yield the side that is written, in transactions of its own.

    Raises: BadSettings or Unavailable when it cannot be reached.
    """
    async with connected(settings) as connection:
        if connection.dialect.name == "sqlite":
            await connection.exec_driver_sql(
                f"PRAGMA busy_timeout = {round(settings.sqlite_busy_timeout_seconds * 1000)}"
            )
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")  # as whoever opens it has it
            await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            await connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KIB}")  # of one transaction for many rows
        side = await _over(connection)
        await connection.commit()
        yield side


async def _over(connection: AsyncConnection) -> Side:
    kind = FileSide if connection.dialect.name == "sqlite" else ServerSide
    return await kind.over(connection)


async def are_one(source: Settings, target: Settings, number: int) -> bool:
    """Tell whether two settings, however they are spelled, name one database.

    Args: number: one that nobody else has thought of; servers are asked whether both see it locked.
    """
    if source.direct.kind != target.direct.kind:
        return False
    if source.direct.kind != "postgresql":
        one, other = source.target.path, target.target.path
        return one is not None and other is not None and other.exists() and one.exists() and one.samefile(other)
    async with connected(source) as first, connected(target) as second:
        await first.execute(_HELD, {"number": number})
        taken = await second.scalar(_TAKEN, {"number": number})
        await first.execute(_LET_GO, {"number": number})
        return bool(taken) and await first.scalar(_SCHEMA) == await second.scalar(_SCHEMA)
