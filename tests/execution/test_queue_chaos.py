"""Processes work on one queue while some are killed, stopped past their leases, or lose their connections.

Each execution leaves an effect for each accepted completion, in the same transaction: a ledger with exactly one row for
each execution says that none was lost and none was completed twice.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

import agentdb
from agentdb.database import Database
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL
from tests.execution.queues import enqueue, make_workflow

# Completes each claim in a unit, with a row in the ledger. Some claims are held for longer than a stopped lease lasts.
_WORKER = """
import asyncio, os, random, sys
import agentdb
from agentdb.execution.records import Backoff
from sqlalchemy import text

async def opened(db):
    while True:
        try:
            return await db.open()
        except agentdb.Unavailable:
            await asyncio.sleep(0.1)

async def main(url, seed, lease, longest):
    dice = random.Random(seed)
    async with await opened(agentdb.connect(url, migrate="never", pool_size=6)) as db:
        async def handler(claim):
            await db.execution.node_logs.step(claim, "think", think)
            if dice.random() < 0.03:
                raise ValueError("bad luck")
            async with db.write() as unit:
                await unit.execution.executions.complete(claim, {"by": os.getpid()})
                await unit.session.execute(
                    text("INSERT INTO ledger (execution_id, attempt) VALUES (:id, :attempt)"),
                    {"id": claim.id, "attempt": claim.attempt},
                )
        async def think():
            await asyncio.sleep(dice.uniform(0, longest))
            return dice.random()
        print("ready", flush=True)
        await db.execution.executions.run(handler, concurrency=6, lease_seconds=lease, backoff=Backoff(0.05, 0.2))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
"""
_LEDGER = "CREATE TABLE ledger (execution_id BIGINT NOT NULL, attempt BIGINT NOT NULL)"
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class Workers:
    """Processes that work on the queue."""

    def __init__(self, url: str, lease_seconds: float, longest_seconds: float) -> None:
        self._given = [str(lease_seconds), str(longest_seconds)]
        self._url = url
        self._started = 0
        self.running: list[subprocess.Popen[str]] = []
        self.awake: list[subprocess.Popen[str]] = []  # ready, and not stopped

    async def start(self) -> None:
        """Start another, and wait until it works."""
        self._started += 1
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(  # noqa: ASYNC220 (it does not wait for it)
            [sys.executable, "-c", _WORKER, self._url, str(self._started), *self._given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.running.append(process)
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        self.awake.append(process)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill one; one that died by itself tells why."""
        died = process.poll()
        assert died is None, process.communicate()[1]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.running.remove(process)
        self.awake.remove(process)


@contextmanager
def workers(url: str, lease_seconds: float, longest_seconds: float) -> Iterator[Workers]:
    crowd = Workers(url, lease_seconds, longest_seconds)
    try:
        yield crowd
    finally:
        for process in crowd.running:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()


async def _terminate_some(db: Database, dice: random.Random) -> None:
    """End some of the server's connections, as an administrator or a failing network would."""
    async with db.write() as unit:
        pids = list(await unit.session.scalars(text(_BACKENDS)))
        for pid in dice.sample(pids, min(3, len(pids))):
            await unit.session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


async def _crash(db: Database, killed: list[int]) -> None:
    """Kill one of the server's processes: it ends all connections, and begins anew from what was committed."""
    with suppress(agentdb.Unavailable):
        async with db.read() as unit:
            pid = (await unit.session.scalars(text("SELECT pg_backend_pid()"))).one()
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)


async def _completed(db: Database) -> int:
    async with asyncio.timeout(60):
        while True:
            with suppress(agentdb.Unavailable):
                return await db.execution.executions.count(status="completed")
            await asyncio.sleep(0.1)


async def _survive(
    url: str,
    *,
    executions: int,
    processes: int,
    lease: float,
    longest: float,
    harms: int,
    besides: Callable[[Database], Awaitable[None]] | None = None,
) -> None:
    dice = random.Random(11)  # noqa: S311 (repeatable, guards nothing)
    async with agentdb.connect(url) as db:
        async with db.write() as unit:
            await unit.session.execute(text(_LEDGER))
        workflow = await make_workflow(db)
        rows = await enqueue(db, executions, workflow=workflow, max_attempts=1_000)
        stopped: list[tuple[float, subprocess.Popen[str]]] = []
        deadline = time.monotonic() + 240
        with workers(url, lease, longest) as crowd:
            await asyncio.gather(*(crowd.start() for _ in range(processes)))
            async with asyncio.TaskGroup() as starting:
                while await _completed(db) < executions:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(dice.uniform(0.2, 0.4))
                    for until, process in [pair for pair in stopped if pair[0] <= time.monotonic()]:
                        process.send_signal(signal.SIGCONT)
                        stopped.remove((until, process))
                        crowd.awake.append(process)
                    if not harms or len(crowd.awake) < processes // 2 + 1:
                        continue
                    harms -= 1
                    victim, lot = dice.choice(crowd.awake), dice.random()
                    if lot < 0.3:
                        crowd.kill(victim)
                        starting.create_task(crowd.start())
                    elif lot < 0.6:
                        victim.send_signal(signal.SIGSTOP)
                        crowd.awake.remove(victim)
                        stopped.append((time.monotonic() + 1.5 * lease, victim))
                    elif besides is not None:
                        await besides(db)
            # Whoever was stopped comes back, and finds that it is too late.
            for _, process in stopped:
                process.send_signal(signal.SIGCONT)
            await asyncio.sleep(lease)
        await _check(db, [row.id for row in rows])


async def _check(db: Database, ids: list[int]) -> None:
    async with db.read() as unit:
        ledger = list(await unit.session.execute(text("SELECT execution_id, attempt FROM ledger")))
    accepted = Counter(row.execution_id for row in ledger)
    assert set(accepted) == set(ids)
    assert set(accepted.values()) == {1}
    rows = {row.id: row async for row in db.execution.executions.stream(status="completed")}
    assert set(rows) == set(ids)
    assert all(rows[row.execution_id].attempt == row.attempt for row in ledger)
    assert max(row.attempt for row in ledger) > 1  # something did go wrong


@pytest.mark.long
async def test_each_execution_is_completed_once_while_workers_are_killed_and_stopped(database_url: str) -> None:
    await _survive(database_url, executions=300, processes=3, lease=0.6, longest=0.05, harms=4)


@pytest.mark.long
async def test_each_of_two_thousand_is_completed_once(database_url: str) -> None:
    terminating = partial(_terminate_some, dice=random.Random(7))  # noqa: S311 (repeatable, guards nothing)
    besides = terminating if database_url.startswith("postgresql") else None
    await _survive(database_url, executions=2_000, processes=4, lease=1.0, longest=0.1, harms=100, besides=besides)


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgreSQL]:
    """Yield a server that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="agentdb-"))
    folder.chmod(0o755)  # the server's user enters it, whoever runs the tests
    server = EmbeddedPostgreSQL(folder / "embedded", parameters={"fsync": "off"})
    try:
        server.launch()
        yield server
    finally:
        server.shut_down()
        shutil.rmtree(folder)


@pytest.mark.long
async def test_each_execution_is_completed_once_though_the_server_begins_anew(own_server: EmbeddedPostgreSQL) -> None:
    killed: list[int] = []
    crash = partial(_crash, killed=killed)
    await _survive(own_server.url(), executions=300, processes=3, lease=0.6, longest=0.1, harms=8, besides=crash)

    assert len(killed) > 1
