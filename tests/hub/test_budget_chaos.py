"""Processes spend from the same limits while some are killed: no limit is ever passed, nothing stays reserved.

Every state that a limit goes through is checked by the database itself: a guard that the test adds refuses an update
that would leave more spent and reserved than the amount. What remains in the end is replayed from the ledger.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, text

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.hub.models.spending import Cost
from agentdb.testing.factories import make_user

# Spends from one of the users until it is killed: settles at most what it reserved, and leaves some to expire.
_SPENDER = """
import asyncio, random, sys
from decimal import Decimal
import agentdb
from agentdb.errors import BudgetExceeded, Unavailable

async def main(url, seed, tasks, users):
    dice = random.Random(seed)
    async with agentdb.connect(url, migrate="never", pool_size=4) as db:
        async def spend():
            while True:
                user, cents, lot = dice.choice(users), dice.randint(1, 9), dice.random()
                try:
                    reservation = await db.hub.reservations.reserve(
                        user_id=user, amount=Decimal(cents) / 100, ttl_seconds=0.2 if lot < 0.1 else 600
                    )
                except BudgetExceeded:
                    await asyncio.sleep(0.05)
                    continue
                if lot < 0.1:
                    continue  # lost
                if lot < 0.2:
                    await db.hub.reservations.release(reservation.id)
                    continue
                cost = Decimal(dice.randint(0, cents)) / 100
                await db.hub.reservations.settle(reservation.id, source="chat", model="m", cost=cost)
        print("ready", flush=True)
        await asyncio.gather(*(spend() for _ in range(tasks)))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(user) for user in sys.argv[4:]]))
"""

_GUARDS = {
    "postgresql": "ALTER TABLE spend_limits ADD CONSTRAINT never_beyond CHECK (spent + reserved <= amount)",
    "sqlite": (
        "CREATE TRIGGER never_beyond BEFORE UPDATE ON spend_limits WHEN NEW.spent + NEW.reserved > NEW.amount"
        " BEGIN SELECT RAISE(ABORT, 'beyond'); END"
    ),
}


class Spenders:
    """Processes that spend."""

    def __init__(self, url: str, tasks: int, users: Sequence[int]) -> None:
        self._arguments = (url, tasks, users)
        self._started = 0
        self.running: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Start another."""
        url, tasks, users = self._arguments
        self._started += 1
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        given = [url, str(self._started), str(tasks), *map(str, users)]
        self.running.append(
            subprocess.Popen(
                [sys.executable, "-c", _SPENDER, *given],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill one; one that died by itself tells why."""
        died = process.poll()
        assert died is None, process.communicate()[1]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.running.remove(process)


@contextmanager
def spenders(url: str, tasks: int, users: Sequence[int]) -> Iterator[Spenders]:
    crowd = Spenders(url, tasks, users)
    try:
        yield crowd
    finally:
        for process in crowd.running:
            process.kill()
            process.communicate()


async def _spend(url: str, *, processes: int, tasks: int, seconds: float) -> None:
    async with agentdb.connect(url) as db:
        lead = await make_user(db)
        hot = await make_user(db, lead_user_id=lead.id)
        others = [await make_user(db, lead_user_id=lead.id), await make_user(db)]
        users = [hot.id, hot.id, hot.id, lead.id, *(user.id for user in others)]
        await db.hub.limits.set(Decimal(3), user_id=hot.id)
        await db.hub.limits.set(Decimal(5), user_id=lead.id, covers="tree")
        await db.hub.limits.set(Decimal(7))
        async with db.write() as unit:
            await unit.session.execute(text(_GUARDS["sqlite" if url.startswith("sqlite") else "postgresql"]))
        dice = random.Random(7)  # noqa: S311 (repeatable, guards nothing)
        with spenders(url, tasks, users) as crowd:
            for _ in range(processes):
                crowd.start()
            for process in crowd.running:
                assert process.stdout is not None
                await asyncio.to_thread(process.stdout.readline)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(dice.uniform(0.1, 0.4))
                crowd.kill(dice.choice(crowd.running))
                crowd.start()
                await db.hub.reservations.expire()
                if dice.random() < 0.5:  # so that there is something to spend again
                    for limit in (await db.hub.limits.page()).items:
                        await db.hub.limits.set(limit.amount + 1, user_id=limit.user_id, covers=limit.covers)
            while crowd.running:
                crowd.kill(crowd.running[0])
        with clock.hold(db.now() + timedelta(hours=1)):
            while await db.hub.reservations.expire():
                continue
        assert await db.hub.reservations.count(settled_at=None) == 0
        await _check(db, lead.id)


async def _check(db: Database, lead_id: int) -> None:
    """Compare what limits hold with what the rows say."""
    async with db.read() as unit:
        session = unit.session
        assert (await session.scalar(select(func.count()).select_from(Cost)) or 0) > 5  # a busy machine spends little
        for limit in (await unit.hub.limits.page()).items:
            scope = (
                {} if limit.user_id is None else {"led_by" if limit.user_id == lead_id else "user_id": limit.user_id}
            )
            spent = await unit.hub.costs.total(**scope)  # type: ignore[arg-type]
            assert limit.spent == spent.cost
            assert limit.reserved == 0
            assert 0 < limit.spent <= limit.amount


@pytest.mark.long
async def test_no_limit_is_passed_while_spenders_are_killed(database_url: str) -> None:
    await _spend(database_url, processes=2, tasks=8, seconds=3)


@pytest.mark.long
async def test_no_limit_is_passed_by_eight_processes_in_a_minute(database_url: str) -> None:
    await _spend(database_url, processes=8, tasks=16, seconds=60)
