"""Vectors: the top 10 of 20,000 by 1,536, ours against numpy alone on the same matrix, and by each kind of index.

The vectors have no clusters: 48 numbers tell the rest, which is where indexes find it hard. Run it by
``python -m benchmarks.vectors``.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import agentdb
from agentdb import Database
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.engine.vectors.indexing import IndexKind
from agentdb.knowledge.models import VectorCollection
from agentdb.knowledge.records import Match
from agentdb.testing.factories import make_user
from benchmarks.places import PARAMETERS

Rows = NDArray[np.float32]
Search = Callable[[Rows], Awaitable[list[float]]]

INTRINSIC: Final = 48
TENANTS: Final = 100
LIMIT: Final = 10
MOST_OF_NUMPY: Final = 1.5


@dataclass(frozen=True, slots=True)
class Line:
    """What one way of searching takes, and finds."""

    name: str
    p50: float  # milliseconds
    p99: float
    recall: float
    told: str = ""

    def __str__(self) -> str:
        return f"| {self.name} | {self.p50:.2f} | {self.p99:.2f} | {self.recall:.3f} | {self.told} |"


def spread(many: int, dimension: int, seed: int) -> Rows:
    """Return vectors of length 1 without clusters."""
    directions = np.random.default_rng(1).standard_normal((INTRINSIC, dimension))
    rows = np.random.default_rng(seed).standard_normal((many, INTRINSIC)) @ directions
    rows /= np.linalg.norm(rows, axis=1)[:, np.newaxis]
    return rows.astype(np.float32)


async def measured(name: str, search: Search, stored: Rows, queries: Rows, told: str = "") -> Line:
    """Return how long a search takes, and how many of the true nearest it finds."""
    # Reckoned before: between two searches it would leave this matrix, and no other, in the processor's cache.
    least = [np.partition(stored @ query, -LIMIT)[-LIMIT] for query in queries]
    await search(queries[0])
    took, met = [], 0
    for query, nearest in zip(queries, least, strict=True):
        began = time.perf_counter()
        scores = await search(query)
        took.append(1_000 * (time.perf_counter() - began))
        met += sum(score >= nearest - 1e-5 for score in scores)
    took.sort()
    return Line(name, statistics.median(took), took[int(0.99 * (len(took) - 1))], met / (LIMIT * len(queries)), told)


def numpy_alone(stored: Rows) -> Search:
    """Return the search that numpy makes of a matrix in memory, and nothing around it."""

    async def search(query: Rows) -> list[float]:
        scores = stored @ query
        places = np.argpartition(-scores, LIMIT)[:LIMIT]
        best: list[float] = scores[places[np.argsort(-scores[places])]].tolist()
        return best

    return search


def ours(database: Database, collection: VectorCollection, **asked: Any) -> Search:
    """Return our search of a collection."""

    async def search(query: Rows) -> list[float]:
        found: list[Match] = await database.knowledge.vectors.search(
            collection.user_id, collection.id, query, limit=LIMIT, **asked
        )
        return [match.score for match in found]

    return search


async def filled(database: Database, stored: Rows) -> tuple[VectorCollection, float]:
    """Return a collection of these vectors, each of one tenant, and how long it took to fill it."""
    user = await make_user(database)
    collection = await database.knowledge.collections.create(user.id, "bench", stored.shape[1])
    rows = [{"embedding": row, "tags": [f"tenant {place % TENANTS}"]} for place, row in enumerate(stored)]
    began = time.perf_counter()
    await database.knowledge.vectors.pour(user.id, collection.id, rows)
    return collection, time.perf_counter() - began


async def on_sqlite(url: str, stored: Rows, queries: Rows) -> list[Line]:
    """Measure SQLite, in turns with numpy alone."""
    async with agentdb.connect(url) as database:
        collection, seconds = await filled(database, stored)
        search, alone = ours(database, collection), numpy_alone(stored)
        began = time.perf_counter()
        await search(queries[0])
        first = time.perf_counter() - began
        rounds = [
            (await measured("numpy alone", alone, stored, queries), await measured("ours", search, stored, queries))
            for _ in range(5)
        ]
        bare, own = sorted(rounds, key=lambda pair: pair[1].p50 / pair[0].p50)[2]
        told = (
            f"{own.p50 / bare.p50:.2f} x numpy, median of 5 rounds; {MOST_OF_NUMPY} is promised; "
            f"filled in {seconds:.1f} s, first search {1_000 * first:.0f} ms"
        )
        narrow = ours(database, collection, tags=["tenant 7"])
        return [
            Line("numpy alone, matrix in memory", bare.p50, bare.p99, bare.recall),
            Line("SQLite, ours", own.p50, own.p99, own.recall, told),
            await measured("SQLite, ours, one tenant of 100", narrow, stored[7::TENANTS], queries),
        ]


async def on_postgresql(url: str, stored: Rows, queries: Rows) -> list[Line]:
    """Measure PostgreSQL: each vector looked at, and each kind of index."""
    async with agentdb.connect(url) as database:
        collection, seconds = await filled(database, stored)
        search = ours(database, collection)
        lines = [await measured("PostgreSQL, each looked at", search, stored, queries, f"filled in {seconds:.1f} s")]
        for kind in IndexKind:
            began = time.perf_counter()
            index = await database.knowledge.indexes.build(collection.user_id, collection.id, kind)
            told = f"built in {time.perf_counter() - began:.1f} s, {index.bytes / (1 << 20):.0f} MiB"
            lines.append(await measured(f"PostgreSQL, {kind}", search, stored, queries, told))
            narrow = ours(database, collection, tags=["tenant 7"])
            lines.append(await measured(f"PostgreSQL, {kind}, one tenant of 100", narrow, stored[7::TENANTS], queries))
        return lines


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Yield the URL of a database on a server of its own."""
    folder = Path(tempfile.mkdtemp(prefix="agentdb-vectors-"))
    try:
        async with EmbeddedPostgreSQL(folder, tcp=True, parameters=PARAMETERS) as running:
            yield running.target().secret_url()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(lines: list[Line]) -> Iterator[str]:
    """Yield the lines as a table."""
    yield "| search | p50 ms | p99 ms | recall@10 | |"
    yield "|---|---:|---:|---:|---|"
    yield from map(str, lines)


async def main(many: int, dimension: int, asked: int) -> None:
    """Measure, and print the table."""
    stored, queries = spread(many, dimension, 11), spread(asked, dimension, 12)
    with tempfile.TemporaryDirectory(prefix="agentdb-vectors-") as folder:
        lines = await on_sqlite(f"sqlite:///{folder}/agentdb.db", stored, queries)
    async with server() as url:
        lines += await on_postgresql(url, stored, queries)
    sys.stdout.write("\n".join(table(lines)) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=1_536)
    parser.add_argument("--queries", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(main(given.rows, given.dimension, given.queries))
