"""Where the work is done: a server and its seeded database, or one seeded file copied for each adapter."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import asyncpg

import agentdb
from agentdb import urls
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.urls import Target
from benchmarks.adapter import POOL, Kind, Place
from benchmarks.seeding import seed_postgresql, seed_sqlite

URL_VARIABLE: Final = "AGENTDB_BENCH_POSTGRESQL_URL"
# Durable, as in production; the memory of a small server; no checkpoint in the midst of a cell.
PARAMETERS: Final = {"fsync": "on", "synchronous_commit": "on", "shared_buffers": "1GB", "max_wal_size": "4GB"}


class Another(Protocol):
    """Makes one more database beside the seeded ones, and removes it after."""

    def __call__(self, *, with_schema: bool) -> AbstractAsyncContextManager[Place]: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """Places, one for each adapter, what they are, and how there is one more, which is empty."""

    places: list[Place]
    told: str
    another: Another


@asynccontextmanager
async def scene(kind: Kind, adapters: int) -> AsyncIterator[Scene]:
    """Make the places on one kind of database, and remove them after."""
    folder = Path(tempfile.mkdtemp(prefix="agentdb-bench-"))
    try:
        if kind == "sqlite":
            yield await _files(folder, adapters)
        else:
            async with _server(folder) as server, _database(server) as target:
                yield await _rooms(target, adapters, partial(_another_database, server))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _files(folder: Path, adapters: int) -> Scene:
    """Seed one file and copy it: a connection of one adapter must not hold up another's checkpoint."""
    seeded = folder / "seeded.db"
    await _bring_up(f"sqlite:///{seeded}")
    seed_sqlite(seeded, adapters)
    places = []
    for number in range(1, adapters + 1):
        path = folder / f"adapter{number}.db"
        shutil.copyfile(seeded, path)
        _settle(path)
        places.append(Place("sqlite", number, f"sqlite:///{path}", {}, path))
    told = f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=NORMAL; pools of {POOL} where there are pools"
    return Scene(places, told, partial(_another_file, folder))


@asynccontextmanager
async def _another_file(folder: Path, *, with_schema: bool) -> AsyncIterator[Place]:
    path = folder / f"{uuid.uuid4().hex}.db"
    url = f"sqlite:///{path}"
    if with_schema:
        await _bring_up(url)
    yield Place("sqlite", 0, url, {}, path)
    for left in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        left.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Have a file on the disk: otherwise the first checkpoint's fsync would write all of it, in the midst of a cell."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


async def _rooms(target: Target, adapters: int, another: Another) -> Scene:
    """Seed one database; each adapter has its own sessions and conversation in it."""
    server = target.connect_arguments()
    await _bring_up(target.secret_url())
    await seed_postgresql(server, adapters)
    connection = await asyncpg.connect(**server)
    try:
        told = [
            f"{name}={await connection.fetchval(f'SHOW {name}')}"
            for name in ("fsync", "synchronous_commit", "shared_buffers")
        ]
        version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    places = [Place("postgresql", number, target.secret_url(), server, None) for number in range(1, adapters + 1)]
    return Scene(places, f"PostgreSQL {version}, {', '.join(told)}; TCP to {target.host}; pools of {POOL}", another)


@asynccontextmanager
async def _another_database(server: Target, *, with_schema: bool) -> AsyncIterator[Place]:
    async with _database(server) as target:
        if with_schema:
            await _bring_up(target.secret_url())
        yield Place("postgresql", 0, target.secret_url(), target.connect_arguments(), None)


async def _bring_up(url: str) -> None:
    async with agentdb.connect(url):
        pass


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[Target]:
    """Take the server that the environment names, or start the wheel's."""
    if url := os.environ.get(URL_VARIABLE):
        yield urls.parse(url, source=URL_VARIABLE, environment=os.environ)
        return
    async with EmbeddedPostgreSQL(folder, 18, tcp=True, parameters=PARAMETERS) as embedded:
        yield embedded.target()


@asynccontextmanager
async def _database(server: Target) -> AsyncIterator[Target]:
    """Make a database of its own, and drop it after."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(**server.connect_arguments())
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield server.with_database(name)
        finally:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()
