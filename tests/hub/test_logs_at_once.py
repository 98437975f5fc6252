"""Four processes write the context log of one SQLite file: nobody is turned away, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec
import pytest

import agentdb
from agentdb.testing.factories import make_run_session

# Appends entries, several tasks at once, each to a session of its own, and tells how long each append waited.
_WRITER = """
import asyncio, json, sys, time
import agentdb

async def main(url, sessions, entries):
    async with agentdb.connect(url, migrate="never") as db:
        waits, ids = [], []
        async def write(session):
            for number in range(entries):
                began = time.perf_counter()
                (log,) = await db.hub.logs.append(session, [{"role": "llm", "message": f"entry {number}"}])
                waits.append(time.perf_counter() - began)
                ids.append(log.id)
        await asyncio.gather(*(write(session) for session in sessions))
        print(json.dumps({"waits": waits, "ids": ids}))

asyncio.run(main(sys.argv[1], [int(session) for session in sys.argv[3:]], int(sys.argv[2])))
"""


@dataclass
class Told:
    """What a writer reports."""

    waits: list[float]  # seconds
    ids: list[int]


def _start(url: str, entries: int, sessions: list[int]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, url, str(entries), *map(str, sessions)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


async def _write(url: str, *, processes: int, tasks: int, entries: int) -> list[float]:
    """Let processes write, check that every acknowledged row is there, and return how long appends took."""
    async with agentdb.connect(url) as db:
        sessions = [[(await make_run_session(db)).id for _ in range(tasks)] for _ in range(processes)]
        writers = [_start(url, entries, own) for own in sessions]
        told: list[Told] = []
        for writer in writers:
            output, error = writer.communicate(timeout=600)
            assert writer.returncode == 0, error
            told.append(msgspec.json.decode(output, type=Told))

        acknowledged = {log_id for one in told for log_id in one.ids}
        stored = {log.id async for log in db.hub.logs.stream()}
        assert len(acknowledged) == processes * tasks * entries
        assert stored == acknowledged
        for session in await _sessions(db, sessions):
            assert session.total_lines == entries
        return [wait for one in told for wait in one.waits]


async def _sessions(db: agentdb.Database, ids: list[list[int]]) -> list[agentdb.models.RunSession]:
    return [await db.hub.runs.get(session) for own in ids for session in own]


@pytest.mark.long
async def test_writers_of_one_file_lose_nothing(sqlite_url: str) -> None:
    await _write(sqlite_url, processes=4, tasks=8, entries=40)


@pytest.mark.long
async def test_of_a_hundred_thousand_entries_none_is_turned_away(sqlite_url: str) -> None:
    began = time.perf_counter()
    waits = sorted(await _write(sqlite_url, processes=4, tasks=8, entries=3_125))

    print(f"p99 {waits[len(waits) * 99 // 100] * 1000:.0f} ms, longest {waits[-1] * 1000:.0f} ms")  # noqa: T201 (pytest -s shows it)
    # Five seconds where the whole takes thirty, as on a machine of its own; as fair on one that is slower.
    assert waits[-1] < max(5, (time.perf_counter() - began) / 6)
