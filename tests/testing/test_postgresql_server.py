"""The PostgreSQL of a run of tests: its own, or one that the environment names."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from agentdb.config import Settings
from agentdb.errors import BadSettings, Unavailable
from agentdb.testing.postgresql import PostgreSQLServer


@pytest.fixture(scope="module")
def own() -> Iterator[PostgreSQLServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AGENTDB_TEST_POSTGRESQL_URL", raising=False)
        server = PostgreSQLServer()
        server.start()
    yield server
    server.stop()


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(**Settings.load(url).target.connect_arguments())
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.long
async def test_databases_are_copies_of_a_template_made_once(own: PostgreSQLServer) -> None:
    prepared = []

    async def prepare(url: str) -> None:
        prepared.append(url)
        await ask(url, "CREATE TABLE things AS SELECT 7 AS id")

    names = [await own.template("things", prepare) for _ in range(2)]
    one, two = [await own.create_database(names[0]) for _ in range(2)]

    assert len(prepared) == 1
    assert one != two
    assert [await ask(url, "SELECT id FROM things") for url in (one, two)] == [7, 7]


async def test_a_failed_template_is_made_again(own: PostgreSQLServer) -> None:
    async def fail(url: str) -> None:
        await ask(url, "SELECT 1 / 0")

    async def succeed(url: str) -> None:
        await ask(url, "SELECT 1")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await own.template("failing", fail)
    assert await own.template("failing", succeed)


async def test_a_database_is_dropped_under_whoever_is_connected(own: PostgreSQLServer) -> None:
    url = await own.create_database()
    held = await asyncpg.connect(**Settings.load(url).target.connect_arguments())

    await own.drop_database(url)

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await held.fetchval("SELECT 1")
    await held.close()


async def test_a_database_is_made_after_every_connection_was_ended(own: PostgreSQLServer) -> None:
    url = await own.create_database()
    await ask(url, "SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = 'postgres'")

    assert await ask(await own.create_database(), "SELECT 1") == 1
    await own.drop_database(url)


async def test_a_named_server_is_left_as_it_was(own: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    named = await own.create_database()
    count = "SELECT count(*) FROM pg_database"
    before = await ask(named, count)
    monkeypatch.setenv("AGENTDB_TEST_POSTGRESQL_URL", named)
    other = PostgreSQLServer()
    other.start()
    await other.create_database()
    with pytest.raises(BadSettings, match="not created here"):
        await other.drop_database(named)

    other.stop()

    assert await ask(named, count) == before
    with pytest.raises(Unavailable, match="not started"):
        await other.create_database()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTDB_TEST_POSTGRESQL_URL", "sqlite://"),
        ("AGENTDB_TEST_POSTGRESQL_MAJOR", "latest"),
        ("AGENTDB_TEST_POSTGRESQL_MAJOR", "17"),
    ],
)
def test_a_server_that_cannot_be_had_is_an_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTDB_TEST_POSTGRESQL_URL", raising=False)
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings):
        PostgreSQLServer().start()
