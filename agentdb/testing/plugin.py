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

    def async_fixture(*, loop_scope: str, name: str) -> Any:  # type: ignore[no-redef]  # noqa: ARG001
        """Leave it to pytest, which tells whoever asks for the fixture what is missing."""
        return pytest.fixture(name=name)


if TYPE_CHECKING:
    from agentdb.config import Settings
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
    "encryption_keys": (),
    "sqlite_synchronous": "normal",
}


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    """Return the settings that every database of the run is opened with; override it in a conftest."""
    return {}


_LOADED: Final[dict[str, Settings]] = {}


def _loaded(settings: dict[str, Any]) -> Settings:
    """Return settings as they are loaded: each once, since that takes longer than the rest of opening a database."""
    from agentdb.config import Settings

    # Not a fixture of the session: a module that overrides agentdb_settings would get those of the first module.
    name = repr(sorted(settings.items()))
    if name not in _LOADED:
        _LOADED[name] = Settings.load("sqlite://", **{**SEALED, **settings})
    return _LOADED[name]


@pytest.fixture
def agentdb_loaded(agentdb_settings: dict[str, Any]) -> Settings:
    """Return the settings as they are loaded."""
    return _loaded(agentdb_settings)


@pytest.fixture(scope="session")
def agentdb_template(agentdb_settings: dict[str, Any]) -> Iterator[Path]:
    """Yield a migrated, empty SQLite file, which databases in memory begin as copies of."""
    with tempfile.TemporaryDirectory(prefix="agentdb-template-") as folder:
        path = Path(folder, "agentdb.db")
        _outside_any_loop(_migrate, f"sqlite:///{path}", _loaded(agentdb_settings))
        yield path


@pytest.fixture
def agentdb(request: pytest.FixtureRequest) -> Database:
    """Return an open, empty database in memory."""
    return _in_the_tests_loop(request, "sqlite")


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


@pytest.fixture
def agentdb_postgresql(request: pytest.FixtureRequest) -> Database:
    """Return an open, empty database of its own on PostgreSQL."""
    return _in_the_tests_loop(request, "postgresql")


@pytest.fixture(params=["sqlite", "postgresql"])
def agentdb_any(request: pytest.FixtureRequest) -> Database:
    """Return an open, empty database: the test runs on SQLite and on PostgreSQL."""
    # Not async: a fixture inside the running loop cannot ask for another async one.
    database: Database = request.getfixturevalue("agentdb" if request.param == "sqlite" else "agentdb_postgresql")
    return database


# A database belongs to one event loop, and a test may run in one of its own, or in its class's, module's, package's or
# session's. There is a fixture in each, and the one that the test runs in is asked for.

_SCOPES: Final = ("function", "class", "module", "package", "session")


def _in_the_tests_loop(request: pytest.FixtureRequest, kind: str) -> Database:
    marker = request.node.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope") if marker is not None else None
    # Not async: a fixture inside the running loop cannot ask for another async one.
    database: Database = request.getfixturevalue(f"_agentdb_{kind}_{scope or _default_scope(request.config)}")
    return database


def _default_scope(config: pytest.Config) -> str:
    try:
        return str(config.getini("asyncio_default_test_loop_scope") or "function")
    except (KeyError, ValueError):  # without pytest-asyncio there is no such option
        return "function"


def _sqlite_in(loop_scope: Any) -> Any:
    @async_fixture(loop_scope=loop_scope, name=f"_agentdb_sqlite_{loop_scope}")
    async def fixture(agentdb_template: Path, agentdb_loaded: Settings) -> AsyncIterator[Database]:
        async with _database("sqlite://", agentdb_loaded, template=agentdb_template) as database:
            yield database

    return fixture


def _postgresql_in(loop_scope: Any) -> Any:
    @async_fixture(loop_scope=loop_scope, name=f"_agentdb_postgresql_{loop_scope}")
    async def fixture(
        agentdb_postgresql_server: PostgreSQLServer, agentdb_settings: dict[str, Any], agentdb_loaded: Settings
    ) -> AsyncIterator[Database]:
        server = agentdb_postgresql_server
        template = await server.template("agentdb", lambda url: _migrate(url, agentdb_loaded))
        # Not behind the tests' backs: whoever makes a database is a transaction, and follows wait for older ones.
        url = await server.create_database(template)
        try:
            with tempfile.TemporaryDirectory(prefix="agentdb-files-") as folder:
                loaded = agentdb_loaded.model_copy(update={"folder": agentdb_settings.get("folder", Path(folder))})
                async with _database(url, loaded) as database:
                    yield database
        finally:
            await server.drop_database(url)

    return fixture


_in_function, _in_class, _in_module, _in_package, _in_session = map(_sqlite_in, _SCOPES)
_on_function, _on_class, _on_module, _on_package, _on_session = map(_postgresql_in, _SCOPES)


def _database(url: str, loaded: Settings, *, template: Path | None = None) -> Database:
    from agentdb.database import Database

    settings = loaded.model_copy(update={"url": url})
    settings.model_post_init(None)  # settles which database is meant
    return Database(settings, template=template)


async def _migrate(url: str, loaded: Settings) -> None:
    async with _database(url, loaded):
        pass


def _outside_any_loop(work: Callable[..., Any], *arguments: Any) -> None:
    """Run a coroutine function to its end in a thread: the loops of tests belong to pytest-asyncio."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: asyncio.run(work(*arguments))).result()
