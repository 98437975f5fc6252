"""Processes store, remove, collect and are killed: at no time does a committed row lack its file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.hub.filing.folder import INCOMING
from agentdb.models import Attachment
from agentdb.repository import Repository
from agentdb.testing.factories import make_user

# Stores the same few contents again and again, alone and in units, and removes some of the rows at once.
_STORER = """
import asyncio, random, sys
import agentdb

async def main(url, folder, user, seed):
    dice = random.Random(seed)
    async with agentdb.connect(url, folder=folder, migrate="never", pool_size=4) as db:
        async def store():
            while True:
                contents = bytes([dice.randrange(3)]) * dice.choice([1, 1, 70_000])
                details = {"filename": "a.bin", "purpose": "mail", "uploaded_by": user}
                if dice.random() < 0.3:
                    async with db.write() as unit:
                        row = await unit.hub.attachments.store(contents, **details)
                        await asyncio.sleep(dice.uniform(0, 0.005))
                else:
                    row = await db.hub.attachments.store(contents, **details)
                if dice.random() < 0.9:
                    await db.hub.attachments.remove(row.id)
        print("ready", flush=True)
        await asyncio.gather(*(store() for _ in range(4)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""

# Clears away, without any grace, whatever no row refers to: files only, so that rows stay to be looked at.
_COLLECTOR = """
import asyncio, sys
import agentdb

async def main(url, folder):
    async with agentdb.connect(url, folder=folder, migrate="never", pool_size=2) as db:
        print("ready", flush=True)
        removed = 0
        while True:
            collected = await db.hub.attachments.collect(grace_seconds=0)
            removed += collected.files
            print(removed, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""

# Stores one file after another, some of them slowly, until it is killed.
_VICTIM = """
import asyncio, random, sys
import agentdb

async def main(url, folder, user, seed):
    dice = random.Random(seed)
    async with agentdb.connect(url, folder=folder, migrate="never", pool_size=4) as db:
        async def pieces():
            for _ in range(dice.randint(1, 4)):
                yield dice.randbytes(dice.choice([10, 300_000]))
                await asyncio.sleep(0)
        async def store():
            while True:
                await db.hub.attachments.store(pieces(), filename="a.bin", purpose="mail", uploaded_by=user)
        print("ready", flush=True)
        await asyncio.gather(*(store() for _ in range(4)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


class Rows(Repository[Attachment]):
    model = Attachment


@contextmanager
def running(*programs: Sequence[object]) -> Iterator[list[subprocess.Popen[str]]]:
    """Run programs; each is killed in the end, and must not have ended by itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *map(str, program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for program in programs
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        yield processes
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


async def _lacking(db: Database) -> list[str]:
    """Return rows without their file: committed before it was found missing, and still there after."""
    missing = [row for row in await _all(db) if not await asyncio.to_thread((db._folder.path / row.storage_key).exists)]
    still = {row.id for row in await _all(db)} if missing else set()
    return [row.public_id for row in missing if row.id in still]


async def _all(db: Database) -> list[Attachment]:
    return [row async for row in Rows(db._over).stream()]


async def _store_against_collects(url: str, folder: Path, *, storers: int, collectors: int, seconds: float) -> None:
    async with agentdb.connect(url, folder=folder) as db:
        user = (await make_user(db)).id
        storing = [(_STORER, url, folder, user, seed) for seed in range(storers)]
        collecting = [(_COLLECTOR, url, folder)] * collectors
        with running(*storing, *collecting) as processes:
            told: list[int] = []
            reading = asyncio.create_task(asyncio.to_thread(_last_told, processes[-1], told))
            looks, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                assert await _lacking(db) == []
                looks += 1
        await reading

        assert looks > 10
        assert told[-1] > 20  # otherwise nobody was in anybody's way
        assert await _lacking(db) == []
        for row in await _all(db):
            assert len(await (await db.hub.attachments.open(row.public_id, user)).read()) == row.file_size


def _last_told(process: subprocess.Popen[str], told: list[int]) -> None:
    assert process.stdout is not None
    told.extend(int(line) for line in process.stdout)


@pytest.mark.long
async def test_no_row_lacks_its_file_while_others_collect(database_url: str, tmp_path: Path) -> None:
    await _store_against_collects(database_url, tmp_path, storers=2, collectors=1, seconds=6)


@pytest.mark.long
async def test_no_row_lacks_its_file_while_others_collect_for_long(database_url: str, tmp_path: Path) -> None:
    await _store_against_collects(database_url, tmp_path, storers=4, collectors=2, seconds=30)


async def _kill_while_storing(url: str, folder: Path, *, kills: int) -> None:
    dice = random.Random(5)  # noqa: S311 (the same points each time)
    unfinished = 0
    async with agentdb.connect(url, folder=folder) as db:
        user = (await make_user(db)).id
        for seed in range(kills):
            with running((_VICTIM, url, folder, user, seed)):
                await asyncio.sleep(dice.uniform(0.05, 0.4))
            unfinished += len(list((folder / "attachments" / INCOMING).glob("*")))
            if seed % 2:
                with clock.hold(datetime.now(UTC) + timedelta(days=2)):
                    await db.hub.attachments._collect_files(db.now(), 1_000, {})
                    db._folder.sweep(db.now(), 1_000)

            rows = await _all(db)
            assert len({row.public_id for row in rows}) == len(rows)
            for row in rows:
                contents = (folder / "attachments" / row.storage_key).read_bytes()
                assert (hashlib.sha256(contents).hexdigest(), len(contents)) == (row.file_hash, row.file_size)

        assert unfinished > 0  # some were killed in the middle
        rows = await _all(db)
        assert len(rows) > kills
        with clock.hold(datetime.now(UTC) + timedelta(days=2)):
            collected = 0
            while True:
                some = await db.hub.attachments.collect()
                collected += some.attachments
                if not some.more:
                    break
        assert collected == len(rows)
        left = [path.name for path in (folder / "attachments").rglob("*") if path.is_file()]
        assert [name for name in left if not name.startswith("database-")] == []


@pytest.mark.long
async def test_a_killed_process_leaves_no_row_without_its_file(database_url: str, tmp_path: Path) -> None:
    await _kill_while_storing(database_url, tmp_path, kills=4)


@pytest.mark.long
async def test_many_killed_processes_leave_no_row_without_its_file(database_url: str, tmp_path: Path) -> None:
    await _kill_while_storing(database_url, tmp_path, kills=15)
