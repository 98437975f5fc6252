"""Which engine answers for a target."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from agentdb.config import Settings, prepare_folder, require_sqlite
from agentdb.engine.observing import Observing
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.engine.postgresql.engine import PostgreSQL
from agentdb.engine.sqlite.engine import SQLite

AnyEngine: TypeAlias = PostgreSQL | SQLite


def engine_for(settings: Settings, *, template: Path | None = None, observing: Observing | None = None) -> AnyEngine:
    """Return the engine of the database that settings name, not yet open.

    Args:
        settings: name it.
        template: for a database in memory, a file to begin as a copy of.
        observing: who listens; None: the log of what is slow, when the settings ask for it.

    Raises: BadSettings when its folder cannot be made.
    """
    target = settings.target
    if target.kind == "postgresql":
        replica = settings.replica
        return PostgreSQL(
            target.connect_arguments(),
            settings,
            replica.connect_arguments() if replica is not None else None,
            observing or Observing(settings),
        )
    require_sqlite()
    if target.path is not None:
        prepare_folder(target.path.parent, setting=target.source)
    return SQLite(target.path, settings, template, observing or Observing(settings))


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Settings]:
    """Run the embedded server while the block lasts, and give settings that name it; any other database runs by itself.

    Raises: BadSettings or Unavailable when it does not start.
    """
    target = settings.target
    if target.kind != "embedded" or target.path is None:
        yield settings
        return
    async with EmbeddedPostgreSQL(target.path) as server:
        yield settings.over(server.target())
