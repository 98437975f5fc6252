"""How the tests of the command speak to it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer import Typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from agentdb import migrating
from agentdb.cli import app
from agentdb.config import Settings
from agentdb.testing.postgresql import PostgreSQLServer

Command = Callable[..., Result]


class Runner(CliRunner):
    """Runs commands made once: Typer's own makes them anew for each call, which takes longer than most calls."""

    def invoke(self, app: Typer, *words: Any, **options: Any) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("typer.testing._get_command", _made)
            return super().invoke(app, *words, **options)


_made = functools.cache(get_command)


@pytest.fixture
def command(database_url: str) -> Command:
    """Return what runs ``agentdb`` on an empty database; the test runs on both."""
    runner = Runner()
    return lambda *words: runner.invoke(app, ["--url", database_url, *map(str, words)])


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
    url = await server.create_database(await server.template("cli", migrate))
    yield url
    await server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database that is up to date and empty: the test runs on both."""
    url: str = request.getfixturevalue(f"migrated_{request.param}_url")
    return url


@pytest.fixture
def migrated(migrated_url: str) -> Command:
    """Return what runs ``agentdb`` on such a database."""
    return lambda *words: Runner().invoke(app, ["--url", migrated_url, *map(str, words)])
