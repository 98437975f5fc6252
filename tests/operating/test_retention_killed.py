"""Retention that is killed at any moment: no sum has changed, and the next run completes it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.operating.retaining.policies import Keep
from agentdb.operating.retention import apply
from agentdb.testing.factories import make_user

pytestmark = pytest.mark.long

ENTRIES: Final = 600
POLICIES: Final[dict[str, Keep | None]] = {"costs": Keep(age=timedelta(days=40)), "attachments": None}
_DOING: Final = """
import asyncio, sys
from datetime import timedelta
import agentdb
from agentdb.operating.retaining.policies import Keep
from agentdb.operating.retention import apply

async def main():
    async with agentdb.connect(sys.argv[1], migrate="never") as db:
        tell = lambda table, rows: print(table, rows, flush=True)
        policies = {"costs": Keep(age=timedelta(days=40)), "attachments": None}
        await apply(db, policies, batch=20, on_removed=tell)

asyncio.run(main())
"""


async def _sums(db: Database) -> tuple[Any, ...]:
    return await db.hub.costs.total(), await db.hub.costs.sums("user_id"), await db.hub.costs.sums("day")


async def _fill(db: Database) -> None:
    users = [await make_user(db) for _ in range(3)]
    for days in (90, 60, 45):
        with clock.hold(clock.now() - timedelta(days=days)):
            await db.hub.costs.append_many(
                {"source": "chat", "model": "m", "cost": Decimal("0.01"), "user_id": users[number % 3].id}
                for number in range(ENTRIES // 3)
            )


async def test_whenever_it_is_killed_no_sum_has_changed_and_the_next_run_goes_on(database_url: str) -> None:
    async with agentdb.connect(database_url) as db:
        await _fill(db)
        sums = await _sums(db)
    killed_within = 0

    for batches in (4, 1, 9):
        process = subprocess.Popen(  # noqa: ASYNC220 (ours)
            [sys.executable, "-c", _DOING, database_url], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert process.stdout is not None
        told = 0
        while told < batches and (line := await asyncio.to_thread(process.stdout.readline)):
            told += line.startswith("costs")
        process.send_signal(signal.SIGKILL)  # somewhere within the batch after that
        await asyncio.to_thread(process.communicate)
        async with agentdb.connect(database_url) as db:
            assert await _sums(db) == sums
            killed_within += 0 < await db.hub.costs.count() < ENTRIES
            with pytest.raises(DBAPIError, match="append-only"):
                await _delete(db)

    async with agentdb.connect(database_url) as db:
        report = await apply(db, POLICIES)
        assert await _sums(db) == sums
        assert await db.hub.costs.count() == 0
        begun = [entry.action for entry in (await db.supervisor.audit.page(limit=50)).items]
    assert report.finished
    assert killed_within == 3
    assert begun.count("begin") == 4


async def _delete(db: Database) -> None:
    async with db.write() as unit:
        await unit.session.execute(text("DELETE FROM costs"))
