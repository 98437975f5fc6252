"""The plans of the hub's lists: the index that serves each, nothing sorted, no table read as a whole."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text

from agentdb.base import Entity
from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.hub import assignments, hosts, logs, runs
from agentdb.models import ContextLog, Host, Run, RunSession, User, UserHost

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 11

# SQLite gives the index of a constraint a name of its own: by its place in the table.

Work = Callable[[Any, str, Sequence[Any]], Awaitable[Any]]

BY_USER = "uq_run_session__user_id_run_id_subagent_id_session_id|sqlite_autoindex_run_session_1"
BY_RUN = "uq_run_session__run_id_subagent_id_session_id|sqlite_autoindex_run_session_2"
BY_HOST = "ix_run_session__host_id_run_id_subagent_id_session_id"
BY_NAME = "uq_hosts__name|sqlite_autoindex_hosts_1"
BY_PAIR = "pk_user_hosts|sqlite_autoindex_user_hosts_1"
BEHIND = {"after_0": 2500, "after_1": 0, "after_2": 1}

SMALL = {BY_NAME, BY_PAIR, "ix_user_hosts__host_id_user_id"}  # a million machines are not registered

LISTS: dict[str, tuple[Plan[Any], Mapping[str, Any], str]] = {
    "all runs": (runs.list_plan(frozenset(), after=False), {}, BY_RUN),
    "all runs, further": (runs.list_plan(frozenset(), after=True), BEHIND, BY_RUN),
    "a user's runs": (runs.list_plan(frozenset({"user_id"}), after=False), {"user_id": 7}, BY_USER),
    "a user's runs, further": (runs.list_plan(frozenset({"user_id"}), after=True), {"user_id": 7, **BEHIND}, BY_USER),
    "a host's runs": (runs.list_plan(frozenset({"host_id"}), after=False), {"host_id": 7}, BY_HOST),
    "a host's runs, further": (runs.list_plan(frozenset({"host_id"}), after=True), {"host_id": 7, **BEHIND}, BY_HOST),
    "a run's sessions": (runs.list_plan(frozenset({"run_id"}), after=False), {"run_id": 7}, BY_RUN),
    "the latest run": (runs._LATEST, {"user_id": 7}, BY_USER),
    "hosts": (hosts.list_plan(after=False), {}, BY_NAME),
    "hosts, further": (hosts.list_plan(after=True), {"after_0": "host-2500"}, BY_NAME),
    "a host's users": (assignments._ASSIGNED[False], {"host_id": 7}, "ix_user_hosts__host_id_user_id"),
    "a user's hosts": (assignments._HOSTS_OF[False], {"user_id": 7}, BY_PAIR),
    "the last lines of a log": (
        logs._LATEST[frozenset()],
        {"run_session_id": 7},
        "ix_context_log__run_session_id_id",
    ),
    "a log, further": (
        logs._LATEST[frozenset({"before"})],
        {"run_session_id": 7, "before": 4000},
        "ix_context_log__run_session_id_id",
    ),
}


async def fill(db: Database, users: int, first: int, last: int) -> None:
    """Fill the tables of the lists with the rows of these numbers, and let the database count them."""

    async def add(model: type[Entity], rows: Iterable[dict[str, Any]]) -> None:
        await db._over.insert_many(table_of(model), rows)

    numbers = range(first, last)
    if first == 0:
        await add(User, ({"username": f"user-{n}"} for n in numbers))
        await add(Host, ({"name": f"host-{n}"} for n in numbers))
        await add(UserHost, ({"user_id": n % users + 1, "host_id": n + 1} for n in numbers))
    await add(Run, ({"user_id": n % users + 1} for n in numbers))
    place = {"session_id": 1, "last_active": NOW, "model_name": "m"}
    await add(
        RunSession, ({"user_id": n % users + 1, "run_id": n + 1, "host_id": n % users + 1, **place} for n in numbers)
    )
    await add(ContextLog, ({"run_session_id": n % (last // 20) + 1, "role": "llm", "message": "a"} for n in numbers))
    async with db.sessions() as session:
        await session.execute(text("ANALYZE"))
        await session.commit()


async def on_driver(db: Database, plan: Plan[Any], values: Mapping[str, Any], work: Work) -> Any:
    """Return what a piece of work on the driver's own connection returns for a plan's text and arguments."""
    async with db.write() as unit:
        connection = await unit.session.connection()
        compiled = plan.on(POSTGRESQL if connection.dialect.name == "postgresql" else SQLITE)
        given = {**({"limit": LIMIT} if "limit" in {bind.name for bind in compiled.binds} else {}), **values}
        driver = (await connection.get_raw_connection()).driver_connection
        return await work(driver, compiled.text, compiled.arguments(given, NOW))


async def plan_of(driver: Any, statement: str, arguments: Sequence[Any]) -> str:
    if isinstance(driver, aiosqlite.Connection):
        rows = await driver.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}", arguments)
        return "\n".join(row[-1] for row in rows)
    return "\n".join([row[0] for row in await driver.fetch(f"EXPLAIN {statement}", *arguments)])


async def steps_of(driver: aiosqlite.Connection, statement: str, arguments: Sequence[Any]) -> int:
    """Return how many steps SQLite's machine makes."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    await driver.set_progress_handler(step, 1)
    await driver.execute_fetchall(statement, arguments)
    await driver.set_progress_handler(None, 0)  # type: ignore[arg-type]
    return steps


async def work_of(driver: Any, statement: str, arguments: Sequence[Any]) -> int:
    """Return how many blocks PostgreSQL looks at, or how many steps SQLite's machine makes."""
    if isinstance(driver, aiosqlite.Connection):
        return await steps_of(driver, statement, arguments)
    await driver.fetch(statement, *arguments)  # the first reading of a page also writes its hint bits
    told = await driver.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
    root = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


@pytest.mark.long
async def test_each_list_reads_its_own_index_in_order(db: Database) -> None:
    await fill(db, 50, 0, 5_000)

    for name, (plan, values, index) in LISTS.items():
        told = await on_driver(db, plan, values, plan_of)

        assert any(one in told for one in index.split("|")), f"{name}\n{told}"
        for waste in ("Seq Scan", "Sort", "TEMP B-TREE"):
            assert waste not in told, f"{name}\n{told}"
        assert not [line for line in told.splitlines() if line.startswith("SCAN") and " INDEX " not in line], told


@pytest.mark.long
async def test_a_page_of_a_million_takes_the_work_of_a_page_of_a_thousand(db: Database) -> None:
    growing = {name: (plan, values) for name, (plan, values, index) in LISTS.items() if index not in SMALL}
    await fill(db, 50, 0, 1_000)
    few = {name: await on_driver(db, *asked, work_of) for name, asked in growing.items()}

    for first, last in pairwise((1_000, *range(100_000, 1_000_001, 100_000))):  # a COPY has no time for all at once
        await fill(db, 50, first, last)
    many = {name: await on_driver(db, *asked, work_of) for name, asked in growing.items()}

    # The tree of a million is two levels higher.
    assert {name: (few[name], many[name]) for name in growing if many[name] > 1.3 * few[name] + 2} == {}
