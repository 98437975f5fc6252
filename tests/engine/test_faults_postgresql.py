"""PostgreSQL that restarts, hangs up, is slow or locked: told as what it is, and usable again at once."""

# ruff: noqa: PT012 (a unit is several statements, and refuses at its end)

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import func, select

import agentdb
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from agentdb.errors import Contended, Unavailable

_SLEEP = Plan[None](select(func.pg_sleep(10)), name="sleep")


@pytest.fixture
def db(agentdb_postgresql: Database) -> Database:
    return agentdb_postgresql


async def _terminate_others(db: Database) -> None:
    connection = await asyncpg.connect(**db.settings.target.connect_arguments())
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_idle_connections_that_the_server_closed_are_replaced(
    db: Database, at_rest: Callable[[], Awaitable[None]]
) -> None:
    await asyncio.gather(*(db.supervisor.users.count() for _ in range(5)))
    await _terminate_others(db)
    await asyncio.sleep(0.1)  # the sockets' ends arrive

    counts = await asyncio.gather(*(db.supervisor.users.count() for _ in range(5)))

    assert counts == [0] * 5
    await at_rest()


async def test_a_unit_whose_connection_was_closed_is_unavailable_and_the_next_succeeds(
    db: Database, at_rest: Callable[[], Awaitable[None]]
) -> None:
    with pytest.raises(Unavailable):
        async with db.write() as unit:
            await unit.supervisor.users.add(username="lost")
            await _terminate_others(db)
            await unit.supervisor.users.add(username="lost-too")

    async with db.write() as unit:
        await unit.supervisor.users.add(username="kept")
    await at_rest()
    assert [user.username async for user in db.supervisor.users.stream()] == ["kept"]


async def test_a_commit_on_a_closed_connection_is_unavailable(
    db: Database, at_rest: Callable[[], Awaitable[None]]
) -> None:
    with pytest.raises(Unavailable):
        async with db.write() as unit:
            await unit.supervisor.users.add(username="lost")
            await _terminate_others(db)

    assert await db.supervisor.users.count() == 0
    await at_rest()


async def test_a_statement_that_takes_too_long_is_ended(agentdb_postgresql: Database) -> None:
    url = agentdb_postgresql.settings.target.secret_url()
    async with agentdb.connect(url, statement_timeout_seconds=0.1) as db:
        with pytest.raises(Unavailable, match="AGENTDB_STATEMENT_TIMEOUT_SECONDS"):
            await db._there().fetch_one(_SLEEP, {})

        assert await db.supervisor.users.count() == 0


async def test_a_lock_that_is_waited_for_too_long_is_contention(agentdb_postgresql: Database) -> None:
    url = agentdb_postgresql.settings.target.secret_url()
    async with agentdb.connect(url, lock_timeout_seconds=0.1, retry_attempts=1) as db:
        user = await db.supervisor.users.add(username="bob")
        async with db.write() as unit:
            await unit.supervisor.users.update(user.id, title="held")
            other = asyncio.ensure_future(db.supervisor.users.update(user.id, title="late"))
            await asyncio.wait([other])

    assert isinstance(other.exception(), Contended)


async def test_a_cancelled_statement_is_ended_on_the_server(
    db: Database, at_rest: Callable[[], Awaitable[None]]
) -> None:
    task = asyncio.ensure_future(db._there().fetch_one(_SLEEP, {}))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])

    async with asyncio.timeout(5):
        await at_rest()
    assert task.cancelled()


async def test_an_idle_transaction_that_is_ended_by_the_server_is_unavailable(agentdb_postgresql: Database) -> None:
    url = agentdb_postgresql.settings.target.secret_url()
    async with agentdb.connect(url, idle_in_transaction_timeout_seconds=0.1) as db:
        with pytest.raises(Unavailable):
            async with db.write() as unit:
                await unit.supervisor.users.add(username="lost")
                await asyncio.sleep(0.5)  # what the time-out is for
                await unit.supervisor.users.add(username="lost-too")

        assert await db.supervisor.users.count() == 0


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgreSQL]:
    """A server of the test's own, to be stopped and started."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="agentdb-faults-"))
    folder.chmod(0o755)
    server = EmbeddedPostgreSQL(folder / "embedded", parameters={"fsync": "off"})
    server.launch()
    yield server
    server.shut_down()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
async def test_a_server_that_restarts_is_unavailable_and_then_usable_without_reopening(
    server: EmbeddedPostgreSQL,
) -> None:
    server_host = server.target().host
    async with agentdb.connect(server.target().secret_url()) as db:
        await db.supervisor.users.add(username="before")
        with pytest.raises(Unavailable):
            async with db.write() as unit:
                await unit.supervisor.users.add(username="lost")
                await asyncio.to_thread(server.shut_down)
                await unit.supervisor.users.add(username="lost-too")
        with pytest.raises(Unavailable):
            await db.supervisor.users.count()
        assert not (await db.health()).alive

        before = Path(server_host)
        await asyncio.to_thread(server.launch)
        before.symlink_to(server.target().host)  # noqa: ASYNC240 (nothing else runs)  # its sockets have moved; a real server's do not

        assert [user.username async for user in db.supervisor.users.stream()] == ["before"]
        assert (await db.health()).alive
