"""A PostgreSQL server for a run of tests, and databases on it for single ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from agentdb import urls
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.errors import BadSettings, Unavailable
from agentdb.urls import Target

URL_VARIABLE: Final = "AGENTDB_TEST_POSTGRESQL_URL"
MAJOR_VARIABLE: Final = "AGENTDB_TEST_POSTGRESQL_MAJOR"
ROOM: Final = 4 * 2**30  # Docker's own /dev/shm has 64 MB
# A test's database need not outlive the machine.
PARAMETERS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


class PostgreSQLServer:
    """One server for a whole run of tests: of the wheel, in a temporary folder and without durability.

    AGENTDB_TEST_POSTGRESQL_URL names one to be used in its place: its user must be allowed to create databases, and
    everything created there is dropped by `stop`. AGENTDB_TEST_POSTGRESQL_MAJOR chooses the wheel's 18 (the default)
    or 16.

    `start` and `stop` are plain functions, since a session's fixture outlives the event loops of its tests; the
    coroutines connect anew at each call, and belong to no loop. A server that cannot be had is an error, never a skip.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._embedded: EmbeddedPostgreSQL | None = None
        self._target: Target | None = None
        self._templates: dict[str, str] = {}
        self._created: set[str] = set()

    def start(self) -> None:
        """Start the server, or take the one the environment names.

        Raises: BadSettings or Unavailable when there is none to be had.
        """
        if url := os.environ.get(URL_VARIABLE):
            self._target = urls.parse(url, source=URL_VARIABLE, environment=os.environ)
            if self._target.kind != "postgresql":
                raise BadSettings(f"{URL_VARIABLE} is not a PostgreSQL URL; expected postgresql://user@host/name")
            return
        major = os.environ.get(MAJOR_VARIABLE) or "18"
        if not major.isdecimal():
            raise BadSettings(f"{MAJOR_VARIABLE} is not a number; expected 16 or 18")
        self._folder = Path(tempfile.mkdtemp(prefix="agentdb-tests-", dir=_memory()))
        self._embedded = EmbeddedPostgreSQL(self._folder, int(major), parameters=PARAMETERS)
        try:
            self._embedded.launch()
        except BaseException:
            self.stop()
            raise
        self._target = self._embedded.target()

    def stop(self) -> None:
        """Stop the server and remove its files; on one that is not ours, drop the databases that are left."""
        if self._embedded is not None:
            self._embedded.shut_down()
        elif self._created:
            # A thread of its own: the calling one may have an event loop running.
            with ThreadPoolExecutor(1) as executor:
                executor.submit(asyncio.run, self._drop_all()).result()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._embedded = self._folder = self._target = None
        self._templates.clear()
        self._created.clear()

    async def create_database(self, template: str | None = None) -> str:
        """Return the URL, password included, of a new database of a name nobody else has.

        Args: template: the name of a database to copy, as `template` returns it; None: an empty one.
        """
        name = f"agentdb_test_{uuid.uuid4().hex}"
        # Copying files asks for a checkpoint, but that costs nothing here: a third of the default's time.
        copied = f' TEMPLATE "{template}" STRATEGY file_copy' if template else ""
        self._created.add(name)  # before it is there: whoever is cancelled meanwhile leaves it to be dropped
        async with self._connected() as connection:
            await connection.execute(f'CREATE DATABASE "{name}"{copied}')
        return self._server().with_database(name).secret_url()

    async def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, whoever is still connected; nothing when it is gone."""
        await self._drop(self._name_of(url))

    def _name_of(self, url: str) -> str:
        name = urls.parse(url, source="url", environment=os.environ).database
        if name not in self._created:
            raise BadSettings(f"the database {name} was not created here, and is not dropped")
        return name

    async def template(self, name: str, prepare: Callable[[str], Awaitable[None]]) -> str:
        """Return the name of a database to copy, made by `prepare` the first time it is asked for.

        Args: name: what the run calls it. prepare: takes the URL of an empty database, and leaves no connection open.
        """
        if name not in self._templates:
            url = await self.create_database()
            try:
                await prepare(url)
            except BaseException:
                await self.drop_database(url)
                raise
            self._templates[name] = urls.parse(url, source="url", environment=os.environ).database
        return self._templates[name]

    def _server(self) -> Target:
        if self._target is None:
            raise Unavailable("the test server is not started; call start() first")
        return self._target

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(**self._server().connect_arguments())
        try:
            yield connection
        finally:
            await connection.close()

    async def _drop(self, name: str) -> None:
        async with self._connected() as connection:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._created.discard(name)

    async def _drop_all(self) -> None:
        for name in list(self._created):
            await self._drop(name)


def _memory() -> Path | None:
    """Return a folder in memory with room for a cluster, where a database is copied ten times as fast as on a disk."""
    memory = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None
