"""A Database: opened, closed without a trace, and told about."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

import agentdb
from agentdb.database import Database
from agentdb.errors import Unavailable
from agentdb.models import User


async def test_nothing_is_left_after_closing(database_url: str) -> None:
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()

    async with agentdb.connect(database_url) as db:
        await asyncio.gather(*(db.supervisor.users.add(username=f"u{number}") for number in range(30)))
        await asyncio.gather(*(db.supervisor.users.page(limit=2) for _ in range(5)))
        async for _ in db.supervisor.users.stream():
            break
        cancelled = asyncio.ensure_future(db.supervisor.users.page(limit=5))
        await asyncio.sleep(0)
        cancelled.cancel()

    await asyncio.wait([cancelled])
    left = {thread for thread in set(threading.enumerate()) - threads if not thread.name.startswith("asyncio_")}
    assert not left  # the loop's own executor is the loop's
    assert asyncio.all_tasks() == tasks


async def test_calls_in_flight_end_before_the_database_is_closed(migrated_url: str) -> None:
    db = await agentdb.connect(migrated_url)
    calls: list[asyncio.Future[Any]] = [asyncio.ensure_future(db.supervisor.users.page(limit=5)) for _ in range(20)]
    calls += [asyncio.ensure_future(db.supervisor.users.count()) for _ in range(20)]
    await asyncio.sleep(0)
    await db.close()

    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(not isinstance(answer, BaseException) or isinstance(answer, Unavailable) for answer in answers)


async def test_a_database_that_is_not_open_says_so_and_can_be_opened_again(migrated_url: str) -> None:
    db = agentdb.connect(migrated_url)
    for _ in range(2):
        with pytest.raises(Unavailable, match="not open"):
            await db.supervisor.users.count()
        async with db:
            assert await db.supervisor.users.count() == 0
    with pytest.raises(Unavailable, match="not open"):
        async with db.write():
            pass


async def test_health_is_told(db: Database) -> None:
    health = await db.health()

    assert health.alive
    assert health.problem is None
    assert health.in_use == health.waiting == 0
    assert health.size > 0


async def test_plain_sessions_commit_and_roll_back_by_themselves(db: Database) -> None:
    async with db.sessions() as session, session.begin():
        session.add(User(username="bob", config={"a": 1}))
    async with db.sessions() as session:
        session.add(User(username="eve"))
        await session.flush()
        await session.rollback()
    async with db.sessions() as session:
        session.add(User(username="sue"))  # never committed
        await session.flush()
    with pytest.raises(IntegrityError):
        async with db.sessions() as session, session.begin():
            session.add(User(username="bob"))

    assert [user.username async for user in db.supervisor.users.stream()] == ["bob"]
    assert (await db.supervisor.users.by_username("bob")).config == {"a": 1}
    assert (await db.health()).in_use == 0


async def test_a_session_factory_opens_and_closes_its_database(migrated_url: str) -> None:
    async with agentdb.session_factory(migrated_url) as factory:
        async with factory() as session, session.begin():
            session.add(User(username="bob"))
        async with factory() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 1

    with pytest.raises(Unavailable, match="not open"):
        factory()


_FORGETTING = """
import asyncio, sys, agentdb
async def main():
    db = await agentdb.connect(sys.argv[1])
    await db.supervisor.users.add(username="bob")
    await asyncio.gather(*(db.supervisor.users.count() for _ in range(3)))
    raise RuntimeError("forgotten")
asyncio.run(main())
"""


@pytest.mark.long
def test_the_interpreter_ends_at_once_when_closing_was_forgotten(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORGETTING, database_url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )

    assert done.returncode == 1
    assert "RuntimeError: forgotten" in done.stderr
