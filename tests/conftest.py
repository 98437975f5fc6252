"""What the tests run on: every behaviour on both databases."""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import pytest_asyncio

from agentdb import migrating
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.testing.postgresql import PostgreSQLServer
from agentdb.unit import Unit
from tests.canaries import Watch

# A checkout that is not installed has no entry point to find the plugin by; one that is must not load it twice.
if not entry_points(group="pytest11", name="agentdb"):
    pytest_plugins = ["agentdb.testing.plugin"]


_WATCH = Watch()


def pytest_configure() -> None:
    """Let everything log, and listen, before any engine is made: each asks its logger once."""
    for name in ("", "sqlalchemy"):  # the second sets a level of its own
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(_WATCH)
    gc.disable()  # what is imported and collected stays


def pytest_collection_finish() -> None:
    """Keep the collector from going through every module, model and test again and again: a tenth of the time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged() -> Iterator[None]:
    """Fail the test during which a secret was logged, wherever it came from."""
    yield
    telling, _WATCH.telling = _WATCH.telling, []
    assert telling == []


class _Undone(Exception):
    """Rolls a unit back."""


@pytest.fixture
def db(agentdb_any: Database) -> Database:
    """Return an open database, empty and migrated: the test runs on both."""
    return agentdb_any


@pytest_asyncio.fixture
async def unit(db: Database) -> AsyncIterator[Unit]:
    """Yield an open unit that writes on ``db``, and is rolled back in the end.

    It was opened by another task than the test's: on SQLite a write on ``db`` itself would wait for it in vain.
    """
    with suppress(_Undone):
        async with db.write() as unit:
            yield unit
            raise _Undone


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the URL of a file that is not there yet."""
    return f"sqlite:///{tmp_path / 'agentdb.db'}"


@pytest_asyncio.fixture
async def postgresql_url(agentdb_postgresql_server: PostgreSQLServer) -> AsyncIterator[str]:
    """Yield the URL, password included, of a database without tables."""
    url = await agentdb_postgresql_server.create_database()
    yield url
    await agentdb_postgresql_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database without tables: the test runs on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def migrated_sqlite_url(tmp_path: Path, agentdb_template: Path) -> str:
    """Return the URL of a file that is up to date and empty."""
    path = tmp_path / "agentdb.db"
    shutil.copyfile(agentdb_template, path)
    path.chmod(0o600)
    return f"sqlite:///{path}"


@pytest_asyncio.fixture
async def migrated_postgresql_url(agentdb_postgresql_server: PostgreSQLServer) -> AsyncIterator[str]:
    """Yield the URL of a database of its own that is up to date and empty."""

    async def migrate(url: str) -> None:
        await migrating.upgrade(Settings.load(url))

    server = agentdb_postgresql_server
    url = await server.create_database(await server.template("migrated", migrate))
    yield url
    await server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database that is up to date and empty: the test runs on both."""
    url: str = request.getfixturevalue(f"migrated_{request.param}_url")
    return url


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep whatever database, service and keys the developer's shell names away from the tests."""
    for name in list(os.environ):
        is_ours = name.startswith("AGENTDB_") and not name.startswith("AGENTDB_TEST_POSTGRESQL_")
        if is_ours or name in {"DATABASE_URL", "PGHOST"}:
            monkeypatch.delenv(name)
