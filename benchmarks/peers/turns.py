"""A turn of a conversation, again and again: one message is appended, and the latest fifty are read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from sqlalchemy import MetaData, Table, event, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.peers.child import Address

LATEST: Final = 50
SAID: Final = "What is the weather like in Lisbon tomorrow, and do I need an umbrella?"
_BATCH: Final = 1_000


class Talker(Protocol):
    """Whoever keeps conversations."""

    async def turn(self) -> int:
        """Append one message to the conversation, load the latest fifty, and return how many these are."""
        ...


async def turns(talker: Talker, seconds: float) -> float:
    """Return how many turns a second there are."""
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or not done:
        if (found := await talker.turn()) < LATEST:
            raise AssertionError(f"{found} messages, not {LATEST}")
        done += 1
    return done / passed


PRAGMAS: Final = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA cache_size = -65536")
"""What everybody has on SQLite; by default it would wait for the disk at every commit."""


def engine_on(address: Address) -> AsyncEngine:
    """Make an engine with SQLAlchemy's own pool."""
    engine = create_async_engine(address.url)
    if address.path is not None:

        @event.listens_for(engine.sync_engine, "connect")
        def tune(connection: Any, _record: Any) -> None:
            for pragma in PRAGMAS:
                connection.execute(pragma)

    return engine


async def copied(engine: AsyncEngine, name: str, many: int, keys: Mapping[str, Any]) -> None:
    """Copy the only row of a table many times; what must differ is made of each copy's number, from 1."""
    metadata = MetaData()
    async with engine.begin() as connection:
        schema, _, plain = name.rpartition(".")
        await connection.run_sync(lambda raw: metadata.reflect(raw, schema=schema or None, only=[plain]))
        table: Table = metadata.tables[name]
        row = dict((await connection.execute(select(table))).mappings().one())
        for first in range(1, many + 1, _BATCH):
            numbers = range(first, min(first + _BATCH, many + 1))
            copies = [{**row, **{key: make(row[key], number) for key, make in keys.items()}} for number in numbers]
            await connection.execute(insert(table), copies)
