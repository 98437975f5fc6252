"""SQLite alone: reads in the loop, files and folders, locks of other processes, damaged files."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal_column, select, text

import agentdb
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.engine.sqlite.engine import SQLite
from agentdb.errors import BadSettings, Contended, DatabaseCorrupt, Unavailable

_HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline() if sys.argv[2] == "-" else time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def _counting(steps: int) -> Plan[Any]:
    numbers = (
        f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps}) SELECT max(i) FROM n)"
    )
    return Plan[Any](select(literal_column(numbers)), name="counting", point=True)


@pytest.fixture
def path(migrated_sqlite_url: str) -> Path:
    return Path(migrated_sqlite_url.removeprefix("sqlite:///"))


async def _longest_gap(call: asyncio.Future[Any]) -> float:
    loop = asyncio.get_running_loop()
    longest, last = 0.0, loop.time()
    while not call.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, loop.time() - last), loop.time()
    return longest


@pytest.mark.long
async def test_a_long_read_leaves_the_loop_free(agentdb: Database) -> None:
    engine = agentdb._there()
    assert isinstance(engine, SQLite)
    await engine.fetch_one(_counting(10), {})

    before = asyncio.get_running_loop().time()
    call = asyncio.ensure_future(engine.fetch_one(_counting(5_000_000), {}))
    gap = await _longest_gap(call)
    took = asyncio.get_running_loop().time() - before

    assert await call == 5_000_000
    assert gap < took / 2  # in the loop, it would be all of it


async def test_a_read_that_was_given_up_inline_does_not_spoil_the_next(agentdb: Database) -> None:
    engine = agentdb._there()
    assert isinstance(engine, SQLite)
    user = await agentdb.supervisor.users.add(username="bob")

    await engine.fetch_one(_counting(200_000), {})

    assert (await agentdb.supervisor.users.get(user.id)).username == "bob"
    assert engine.state()["in_use"] == 0


async def test_a_cancelled_read_is_ended_and_frees_its_reader(migrated_sqlite_url: str) -> None:
    async with agentdb.connect(migrated_sqlite_url, sqlite_readers=1) as db:
        engine = db._there()
        endless = Plan[Any](_counting(10**12).statement, name="endless")
        call = asyncio.ensure_future(engine.fetch_one(endless, {}))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait([call])

        async with asyncio.timeout(2):
            assert await db.supervisor.users.count() == 0


async def test_a_read_that_takes_too_long_is_ended(migrated_sqlite_url: str) -> None:
    async with agentdb.connect(migrated_sqlite_url, statement_timeout_seconds=0.1) as db:
        with pytest.raises(Unavailable, match="AGENTDB_STATEMENT_TIMEOUT_SECONDS"):
            await db._there().fetch_one(_counting(10**12), {})

        assert await db.supervisor.users.count() == 0


async def test_inline_reads_can_be_turned_off(migrated_sqlite_url: str) -> None:
    async with agentdb.connect(migrated_sqlite_url, sqlite_inline_reads=False) as db:
        users = await asyncio.gather(*(db.supervisor.users.add(username=f"u{number}") for number in range(10)))
        found = await asyncio.gather(*(db.supervisor.users.get(user.id) for user in users))

    assert [user.username for user in found] == [f"u{number}" for number in range(10)]


async def test_a_database_in_memory_leaves_no_folder() -> None:
    async with agentdb.connect("sqlite://") as db:
        engine = db._there()
        assert isinstance(engine, SQLite)
        folder = engine.path.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert not folder.exists()


async def test_the_file_and_its_folder_are_their_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "agentdb.db"
    async with agentdb.connect(f"sqlite:///{file}") as db:
        await db.supervisor.users.add(username="bob")

        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.glob("agentdb.db*")} == {0o600}


def _holder(path: Path, seconds: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path), seconds],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def test_a_file_held_by_another_process_is_waited_for(migrated_sqlite_url: str, path: Path) -> None:
    async with agentdb.connect(migrated_sqlite_url) as db:
        with _holder(path, "0.3"):
            assert await db.supervisor.users.count() == 0  # readers wait for nobody
            await db.supervisor.users.add(username="bob")
            async with db.write() as unit:
                await unit.supervisor.users.add(username="eve")

        assert await db.supervisor.users.count() == 2


async def test_a_file_held_for_too_long_is_contention(migrated_sqlite_url: str, path: Path) -> None:
    async with agentdb.connect(migrated_sqlite_url, sqlite_busy_timeout_seconds=0.1) as db:
        with _holder(path, "-") as process:
            with pytest.raises(Contended, match="AGENTDB_SQLITE_BUSY_TIMEOUT_SECONDS"):
                await db.supervisor.users.add(username="bob")
            with pytest.raises(Contended):
                async with db.write() as unit:
                    await unit.supervisor.users.add(username="bob")
            with pytest.raises(Contended):
                await db.supervisor.users.add_many([{"username": "bob"}])
            process.communicate("go\n")

        await db.supervisor.users.add(username="bob")


def _spoil(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    path.write_bytes(b"not a database, " * 100 if damage == "garbage" else whole[: len(whole) // 2])


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
async def test_a_damaged_file_is_noticed_when_it_is_opened(migrated_sqlite_url: str, path: Path, damage: str) -> None:
    async with agentdb.connect(migrated_sqlite_url) as db:
        await db.supervisor.users.add_many([{"username": f"u{number}"} for number in range(500)])
    _spoil(path, damage)

    with pytest.raises(DatabaseCorrupt):
        async with agentdb.connect(migrated_sqlite_url) as db:
            await db.supervisor.users.page(limit=1000)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadSettings):
        await agentdb.connect(f"sqlite:///{tmp_path}/file/agentdb.db").open()


async def test_readers_do_not_wait_for_the_writer(agentdb: Database) -> None:
    async with agentdb.write() as unit:
        await unit.session.execute(text("UPDATE users SET title = 'x'"))
        async with asyncio.timeout(1):
            assert await asyncio.ensure_future(_count(agentdb)) == 0


async def _count(db: Database) -> int:
    return await db.supervisor.users.count()
