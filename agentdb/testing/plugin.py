"""The pytest plugin: an open, empty, migrated Database for each test, on SQLite, on PostgreSQL, or on both.

    async def test_a_user_is_greeted(agentdb: Database) -> None:
        await agentdb.supervisor.users.create("alice")

``agentdb`` is SQLite in memory and costs milliseconds; ``agentdb_postgresql`` is a database of its own on a server that
is started once per run; ``agentdb_any`` runs the test on each. The schema is made once per run and copied. With
pytest-xdist each worker has its own. The tests need pytest-asyncio.

The environment chooses neither the database nor its replica here: a test never reaches what AGENTDB_URL names. Override
``agentdb_settings`` for other settings, such as encryption keys.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

try:
    from pytest_asyncio import fixture as async_fixture
except ModuleNotFoundError:  # pytest loads this module wherever agentdb is installed
    async_fixture = pytest.fixture  # type: ignore[assignment]

if TYPE_CHECKING:
    from agentdb.database import Database
    from agentdb.testing.postgresql import PostgreSQLServer

# What of the environment would make a test reach, or leave out, what it should not.
SEALED: Final[dict[str, Any]] = {
    "direct_url": None,
    "replica_url": None,
    "pooler": "none",
    "migrate": "auto",
    "seed": "never",
    "service": None,
    "sqlite_synchronous": "normal",
}


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    """Return the settings that every database of the run is opened with; override it in a conftest."""
    return {}


@pytest.fixture(scope="session")
def agentdb_template(agentdb_settings: dict[str, Any]) -> Iterator[Path]:
    """Yield a migrated, empty SQLite file, which databases in memory begin as copies of."""
    with tempfile.TemporaryDirectory(prefix="agentdb-template-") as folder:
        path = Path(folder, "agentdb.db")
        _outside_any_loop(_migrate, f"sqlite:///{path}", agentdb_settings)
        yield path


@async_fixture
async def agentdb(agentdb_template: Path, agentdb_settings: dict[str, Any]) -> AsyncIterator[Database]:
    """Yield an open, empty database in memory."""
    async with _database("sqlite://", agentdb_settings, template=agentdb_template) as database:
        yield database


@pytest.fixture(scope="session")
def agentdb_postgresql_server() -> Iterator[PostgreSQLServer]:
    """Yield a running PostgreSQL server; one that cannot be had is an error, not a skip."""
    from agentdb.testing.postgresql import PostgreSQLServer

    server = PostgreSQLServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@async_fixture
async def agentdb_postgresql(
    agentdb_postgresql_server: PostgreSQLServer, agentdb_settings: dict[str, Any]
) -> AsyncIterator[Database]:
    """Yield an open, empty database of its own on PostgreSQL."""
    server = agentdb_postgresql_server
    template = await server.template("agentdb", lambda url: _migrate(url, agentdb_settings))
    url = await server.create_database(template)
    try:
        with tempfile.TemporaryDirectory(prefix="agentdb-files-") as folder:
            async with _database(url, {"folder": folder, **agentdb_settings}) as database:
                yield database
    finally:
        await server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def agentdb_any(request: pytest.FixtureRequest) -> Database:
    """Return an open, empty database: the test runs on SQLite and on PostgreSQL."""
    # Not async: a fixture inside the running loop cannot ask for another async one.
    database: Database = request.getfixturevalue("agentdb" if request.param == "sqlite" else "agentdb_postgresql")
    return database


def _database(url: str, settings: dict[str, Any], *, template: Path | None = None) -> Database:
    from agentdb.config import Settings
    from agentdb.database import Database

    return Database(Settings.load(url, **{**SEALED, **settings}), template=template)


async def _migrate(url: str, settings: dict[str, Any]) -> None:
    async with _database(url, settings):
        pass


def _outside_any_loop(work: Callable[..., Any], *arguments: Any) -> None:
    """Run a coroutine function to its end in a thread: the loops of tests belong to pytest-asyncio."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: asyncio.run(work(*arguments))).result()
