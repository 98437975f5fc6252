"""Several processes that write one file take turns: whoever waits is not passed by again and again."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

import agentdb
from agentdb.engine.sqlite.waiting import TurnTaking

AT_MOST = 200

# It writes for 20 ms, and lets the file go for one.
GREEDY = """
import sqlite3, sys, time
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
file.execute("CREATE TABLE turns (number INTEGER PRIMARY KEY)")
for number in range(int(sys.argv[2])):
    file.execute("BEGIN IMMEDIATE")
    file.execute("INSERT INTO turns DEFAULT VALUES")
    print("holds", flush=True)
    time.sleep(0.02)
    file.execute("COMMIT")
    time.sleep(0.001)
"""

HOLDER = """
import sqlite3, sys, time
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(migrated_sqlite_url: str) -> Path:
    return Path(migrated_sqlite_url.removeprefix("sqlite:///"))


@contextmanager
def _running(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def _turns(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        (turns,) = file.execute("SELECT count(*) FROM turns").fetchone()
        return int(turns)


async def test_a_process_that_always_writes_leaves_others_their_turns(migrated_sqlite_url: str, path: Path) -> None:
    async with agentdb.connect(migrated_sqlite_url) as db:
        with _running(GREEDY, str(path), str(AT_MOST)):
            for number in range(4):
                await db.supervisor.users.add(username=f"alone-{number}")
                async with db.write() as unit:
                    await unit.supervisor.users.add(username=f"unit-{number}")
                async with db.sessions() as session, session.begin():
                    await session.execute(text("UPDATE users SET title = 'told' WHERE username = 'alone-0'"))
            turns = _turns(path)

    assert turns < AT_MOST / 2  # with SQLite's own waiting, each of the twelve lasts for some fifty turns


async def test_a_process_that_is_killed_while_it_writes_lets_others_in(migrated_sqlite_url: str, path: Path) -> None:
    async with agentdb.connect(migrated_sqlite_url) as db:
        with _running(HOLDER, str(path)) as holder:
            writes = [asyncio.ensure_future(db.supervisor.users.add(username=f"u{number}")) for number in range(3)]
            await asyncio.sleep(0.02)
            assert not any(write.done() for write in writes)

            holder.kill()
            await asyncio.gather(*writes)

        assert await db.supervisor.users.count() == 3


def test_what_a_connection_is_busy_with_itself_is_not_waited_for() -> None:
    tried: list[str] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None, factory=TurnTaking)) as connection:
        connection.take_turns(0.1)
        connection.execute("CREATE TABLE some (number INTEGER)")
        connection.execute("BEGIN")
        unfinished = connection.execute("INSERT INTO some VALUES (1), (2) RETURNING number")
        connection.set_trace_callback(tried.append)

        with pytest.raises(sqlite3.OperationalError, match="statements in progress"):
            connection.execute("COMMIT")
        unfinished.close()

    assert tried == ["COMMIT"]
