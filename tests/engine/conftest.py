"""What the engine's own tests need: the engine inside a database, and a tally of what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.engine.choice import AnyEngine
from agentdb.engine.postgresql.engine import PostgreSQL


@pytest.fixture
def engine(db: Database) -> AnyEngine:
    """Return the open engine of a database."""
    return db._there()


def pools(engine: AnyEngine) -> list[Any]:
    """Return an engine's pools."""
    return [engine._pool] if isinstance(engine, PostgreSQL) else [engine._writers, engine._readers]


@pytest.fixture
def at_rest(engine: AnyEngine) -> Callable[[], Any]:
    """Return a coroutine function that waits for cleaning to end, and asserts that nothing is held or lost."""

    async def check() -> None:
        for pool in pools(engine):
            while pool._tasks:
                await asyncio.wait(pool._tasks)
            assert not pool._out
            assert not pool._waiting
            assert pool._places == len(pool._idle) <= pool._size

    return check
