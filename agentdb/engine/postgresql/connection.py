"""One connection to PostgreSQL: made, cleaned, closed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import numpy as np

from agentdb.engine.blobs import packed, unpacked
from agentdb.engine.postgresql.errors import translate
from agentdb.errors import AgentDBError, Unavailable

Driver = Any  # asyncpg.Connection: the package carries no types

CLEANING_SECONDS: Final = 5.0


async def connect(arguments: Mapping[str, Any]) -> Driver:
    """Return a new connection that exchanges vectors as arrays.

    Raises: BadSettings or Unavailable, saying where and never with which password.
    """
    try:
        connection = await asyncpg.connect(**arguments)
    except Exception as error:
        raise _not_connected(error, arguments) from error
    try:
        async with connection.transaction():  # behind a transaction pooler, only that stays on one server
            await _speak_vector(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


def milliseconds(seconds: float) -> str:
    """Return a time-out as the server reads it."""
    return str(round(seconds * 1000))


def usable(connection: Driver) -> bool:
    """Tell whether a connection is open, without asking the server."""
    return not connection.is_closed()


async def clean(connection: Driver) -> bool:
    """Wait for a cancelled answer to end, and roll back what it may have left open."""
    try:
        async with asyncio.timeout(CLEANING_SECONDS):
            await connection.execute("ROLLBACK")  # outside a transaction it is a notice, and a round trip
    except Exception:  # noqa: BLE001 (whatever it is, the connection is closed then)
        return False
    # As asyncpg's own reset() does: in the transaction of a session that was cancelled, the next one would be nested.
    connection._top_xact = None  # noqa: SLF001
    return not connection.is_in_transaction()


async def discard(connection: Driver) -> None:
    """Close a connection, at once when it does not part politely."""
    try:
        await connection.close(timeout=CLEANING_SECONDS)
    except Exception:  # noqa: BLE001 (it is closed either way)
        connection.terminate()


async def _speak_vector(connection: Driver) -> None:
    """Exchange pgvector's vectors as float32 arrays, wherever the extension was put; without it, say nothing yet."""
    schema = await connection.fetchval(
        "SELECT n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typname = 'vector'"
    )
    if schema is not None:
        await connection.set_type_codec(
            "vector", schema=schema, format="binary", encoder=_vector_bytes, decoder=unpacked
        )


def _vector_bytes(vector: Any) -> bytes:
    return vector if isinstance(vector, bytes) else packed(np.asarray(vector, dtype="<f4"))


def _not_connected(error: Exception, arguments: Mapping[str, Any]) -> AgentDBError:
    where = f"{arguments.get('host')}:{arguments.get('port')}, database {arguments.get('database')!r}"
    if isinstance(error, OSError | TimeoutError):
        return Unavailable(f"PostgreSQL does not answer at {where} ({type(error).__name__}); check AGENTDB_URL")
    translated = translate(error)
    return type(translated)(f"{translated}, at {where}")
