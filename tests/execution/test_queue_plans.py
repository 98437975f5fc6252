"""The plans of the queue: which index serves each statement, and that what was finished costs nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text

from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.execution import claiming, desks, finishing, overseeing
from agentdb.models import Execution
from tests.execution.queues import make_workflow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGO = NOW - timedelta(days=1)

Work = Callable[[Any, str, Sequence[Any]], Awaitable[Any]]

CLAIM_ONE = {"queue": "default", "worker": "w", "lease_until": NOW, "now": NOW}
CLAIM = {**CLAIM_ONE, "limit": 4}
KEY = "pk_executions|INTEGER PRIMARY KEY"
SERVED: dict[str, tuple[Plan[Any], Mapping[str, Any], str]] = {
    "claim": (claiming.CLAIM, CLAIM, "ix_executions__ready"),
    "claim of one": (claiming.CLAIM_ONE, CLAIM_ONE, "ix_executions__ready"),
    "claim of a user": (claiming._CLAIM_OF_USER, {**CLAIM, "user_id": 1}, "ix_executions__waiting"),
    "turns": (claiming._TURNS, {"queue": "default", "now": NOW, "limit": 9}, "ix_executions__waiting"),
    "running": (claiming._RUNNING, {"queue": "default"}, "ix_executions__leased"),
    "rescue": (overseeing.RESCUE, {"now": NOW, "limit": 10}, "ix_executions__leased"),
    "dead letters": (overseeing.DEAD_LETTERS[False], {"queue": "default", "limit": 9}, "ix_executions__failed"),
    "prune": (overseeing.PRUNE, {"before": AGO, "limit": 10}, "ix_executions__finished"),
    "heartbeat": (
        finishing.HEARTBEATS,
        {"execution_id": [5, 7], "held_attempt": [1, 1], "lease_until": NOW, "now": NOW},
        KEY,
    ),
    "release": (finishing.RELEASE_MANY, {"execution_id": [5, 7], "held_attempt": [1, 1], "now": NOW}, KEY),
    "complete": (
        finishing.COMPLETE,
        {"execution_id": 5, "held_attempt": 1, "output": None, "now": NOW},
        KEY,
    ),
    "what is next": (desks._NEXT, {"queue": "default", "now": NOW}, "ix_executions__ready|ix_executions__waiting"),
}


async def fill(db: Database, finished: int) -> None:
    """Store many that are finished, and some that wait, run, and have failed; let the database count them."""
    workflows = [await make_workflow(db) for _ in range(50)]
    workflow = workflows[0]
    row = {"workflow_id": workflow.id, "user_id": workflow.user_id, "available_at": AGO, "attempt": 1}
    done = {**row, "status": "completed", "completed_at": NOW, "started_at": AGO}
    for first in range(0, finished, 50_000):
        many = range(first, min(first + 50_000, finished))
        await db._over.insert_many(table_of(Execution), ({**done, "output": {"n": n}} for n in many))
    some = [
        *({**row, "status": "running", "lease_expires_at": AGO} for _ in range(50)),
        *({**done, "status": "failed"} for _ in range(50)),
        *({**row, "user_id": workflows[n % 50].user_id, "priority": n % 3} for n in range(1_000)),
    ]
    await db._over.insert_many(table_of(Execution), some)
    async with db.sessions() as session:
        await session.execute(text("ANALYZE"))
        await session.commit()


async def on_driver(db: Database, plan: Plan[Any], values: Mapping[str, Any], work: Work) -> Any:
    """Return what a piece of work on the driver's own connection returns for a plan's text and arguments."""
    async with db.write() as unit:
        connection = await unit.session.connection()
        compiled = plan.on(POSTGRESQL if connection.dialect.name == "postgresql" else SQLITE)
        driver = (await connection.get_raw_connection()).driver_connection
        return await work(driver, compiled.text, compiled.arguments(values, NOW))


async def plan_of(driver: Any, statement: str, arguments: Sequence[Any]) -> str:
    if isinstance(driver, aiosqlite.Connection):
        rows = await driver.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}", arguments)
        return "\n".join(row[-1] for row in rows)
    return "\n".join([row[0] for row in await driver.fetch(f"EXPLAIN {statement}", *arguments)])


async def work_of(driver: Any, statement: str, arguments: Sequence[Any]) -> int:
    """Return how many blocks PostgreSQL looks at, or how many steps SQLite's machine makes."""
    if isinstance(driver, aiosqlite.Connection):
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        await driver.set_progress_handler(step, 1)
        await driver.execute_fetchall(statement, arguments)
        await driver.set_progress_handler(None, 0)  # type: ignore[arg-type]
        return steps
    await driver.fetch(statement, *arguments)  # the first reading of a page also writes its hint bits
    told = await driver.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
    root = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


async def test_each_statement_is_served_by_its_index(db: Database) -> None:
    await fill(db, 5_000)

    for name, (plan, values, index) in SERVED.items():
        told = await on_driver(db, plan, values, plan_of)

        assert any(one in told for one in index.split("|")), f"{name}\n{told}"
        assert "Seq Scan" not in told, f"{name}\n{told}"
        assert "SCAN executions\n" not in f"{told}\n", f"{name}\n{told}"
    for name in ("claim", "claim of one", "claim of a user", "rescue", "dead letters", "prune"):
        told = await on_driver(db, *SERVED[name][:2], plan_of)
        assert "Sort" not in told, f"{name}\n{told}"
        assert "TEMP B-TREE" not in told, f"{name}\n{told}"


@pytest.mark.long
async def test_a_claim_behind_a_million_takes_the_work_of_one_behind_a_thousand(db: Database) -> None:
    growing = {
        name: asked[:2]
        for name, asked in SERVED.items()
        if name in {"claim", "claim of one", "rescue", "heartbeat", "complete"}
    }
    await fill(db, 1_000)
    few = {name: await on_driver(db, *asked, work_of) for name, asked in growing.items()}

    await fill(db, 1_000_000)
    many = {name: await on_driver(db, *asked, work_of) for name, asked in growing.items()}

    for name, work in many.items():
        # A B-tree of a thousand times as many rows is up to two levels higher.
        assert work <= 1.3 * few[name] + 40, (name, few[name], work)
