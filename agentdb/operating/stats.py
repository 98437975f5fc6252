"""How large a database is, which indexes are used, what is slow, and who is connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentdb.config import Settings
from agentdb.engine import measuring
from agentdb.engine.choice import serving
from agentdb.engine.looking import looking
from agentdb.engine.measuring import IndexUse, Sessions, SlowQuery, Storage, TableSize, file_connections
from agentdb.engine.schema.direct import telling


@dataclass(frozen=True, slots=True)
class Pool:
    """The connections: what a process may have, and what there are."""

    size: int  # of each process with these settings, at most
    connected: int | None  # to the database, from all processes; None for a file
    limit: int | None  # of the server
    sessions: Sequence[Sessions]


@dataclass(frozen=True, slots=True)
class Stats:
    """A database, at one moment; the same fields for either kind, None for what it does not count."""

    database: str
    storage: Storage
    tables: Sequence[TableSize]
    indexes: Sequence[IndexUse]
    slow_queries: Sequence[SlowQuery] | None
    pool: Pool


async def stats(settings: Settings, *, quick: bool = False, path: Path | None = None) -> Stats:
    """Return what a database says of itself; nothing is changed, and no row's value is read.

    Args:
        settings: which database.
        quick: take the server's estimates of rows, and leave the sizes of a file's tables out: nothing is scanned.
        path: the file of a database in memory, which the settings do not know.

    Raises: NotFound when there is no such file; BadSettings or Unavailable when it cannot be reached.
    """
    async with serving(settings) as served, looking(served, path) as connection:
        with telling("measuring the database"):
            storage = await measuring.storage(connection)
            connected, limit = await measuring.sessions(connection)
            return Stats(
                settings.target.display,
                storage if storage.log_bytes is not None else _with_log(storage, path or settings.target.path),
                await measuring.table_sizes(connection, exact=not quick),
                await measuring.index_use(connection, exact=not quick),
                await measuring.slow_queries(connection),
                _pool(settings, connected, limit),
            )


def _with_log(storage: Storage, path: Path | None) -> Storage:
    """Add the log that lies beside a file; of a server that does not tell, it stays unknown."""
    if path is None or not path.is_file():
        return storage
    log = path.with_name(f"{path.name}-wal")
    return Storage(storage.bytes, log.stat().st_size if log.exists() else 0, storage.free_bytes)


def _pool(settings: Settings, connected: Sequence[Sessions], limit: int | None) -> Pool:
    if limit is None:
        return Pool(file_connections(settings), None, None, ())
    return Pool(settings.pool_size, sum(session.count for session in connected), limit, connected)
