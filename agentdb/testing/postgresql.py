"""A PostgreSQL server for a run of tests, and databases on it for single ones."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from agentdb import urls
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.errors import BadSettings, Unavailable
from agentdb.testing.maintaining import Maintenance
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
    coroutines belong to no loop. A server that cannot be had is an error, never a skip.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._embedded: EmbeddedPostgreSQL | None = None
        self._target: Target | None = None
        self._maintenance: Maintenance | None = None
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
        else:
            self._target = self._launched()
        self._maintenance = Maintenance(self._target.connect_arguments())

    def _launched(self) -> Target:
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
        return self._embedded.target()

    def stop(self) -> None:
        """Stop the server and remove its files; on one that is not ours, drop the databases that are left."""
        if self._maintenance is not None:
            left = () if self._embedded is not None else map(_dropping, self._created)
            self._maintenance.end(*left)
        if self._embedded is not None:
            self._embedded.shut_down()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._maintenance = self._embedded = self._folder = self._target = None
        self._templates.clear()
        self._created.clear()

    async def create_database(self, template: str | None = None) -> str:
        """Return the URL, password included, of a new database of a name nobody else has.

        Args: template: the name of a database to copy, as `template` returns it; None: an empty one.
        """
        name = f"agentdb_test_{uuid.uuid4().hex}"
        # Copying files asks for a checkpoint, but that costs nothing here: a third of the default's time.
        copied = f' TEMPLATE "{template}" STRATEGY file_copy' if template else ""
        target, maintenance = self._started()
        self._created.add(name)  # before it is there: whoever is cancelled meanwhile leaves it to be dropped
        await maintenance.execute(f'CREATE DATABASE "{name}"{copied}')
        return target.with_database(name).secret_url()

    async def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, whoever is still connected; nothing when it is gone."""
        name = urls.parse(url, source="url", environment=os.environ).database
        if name not in self._created:
            raise BadSettings(f"the database {name} was not created here, and is not dropped")
        _, maintenance = self._started()
        await maintenance.execute(_dropping(name))
        self._created.discard(name)

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

    def _started(self) -> tuple[Target, Maintenance]:
        if self._target is None or self._maintenance is None:
            raise Unavailable("the test server is not started; call start() first")
        return self._target, self._maintenance


def _dropping(name: str) -> str:
    return f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'


def _memory() -> Path | None:
    """Return a folder in memory with room for a cluster, where a database is copied ten times as fast as on a disk."""
    memory = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None
