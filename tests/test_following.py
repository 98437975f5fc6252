"""Following in general: rows that change, a server that is away, and who is held back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

import agentdb
from agentdb import Database, following, trails
from agentdb.engine.plan import Compiled, Plan
from agentdb.engine.postgresql.engine import PostgreSQL
from agentdb.errors import BadInput, Unavailable
from agentdb.following import Change, Trail, follow
from agentdb.models import ContextLog, Execution, ExecutionLog, IntegrationEvent, User, Workflow
from agentdb.page import cursor_of
from agentdb.repository import Repository
from agentdb.testing.factories import make_user


class ExecutionLogs(Repository[ExecutionLog]):
    model = ExecutionLog


class Executions(Repository[Execution]):
    model = Execution


class Workflows(Repository[Workflow]):
    model = Workflow


async def _execution(db: Database) -> int:
    user = await make_user(db)
    workflow = await Workflows(db._shortcut).add(user_id=user.id, name="w", definition={"nodes": [], "edges": []})
    return (await Executions(db._shortcut).add(workflow_id=workflow.id, user_id=user.id, available_at=db.now())).id


async def _take(changes: AsyncIterator[Change[Any]], number: int) -> list[Change[Any]]:
    async with asyncio.timeout(20):
        return [await anext(changes) for _ in range(number)]


async def test_a_row_that_changes_comes_again_and_as_it_is(db: Database) -> None:
    execution = await _execution(db)
    logs = ExecutionLogs(db._shortcut)
    changes = follow(db._shortcut, Trail(ExecutionLog), poll_seconds=3600)
    first = await logs.add(execution_id=execution, node_id="a", node_name="A")
    second = await logs.add(execution_id=execution, node_id="b", node_name="B")
    assert [change.row.id for change in await _take(changes, 2)] == [first.id, second.id]

    await logs.update(first.id, error="x")
    (again,) = await _take(changes, 1)
    assert (again.row.id, again.row.error) == (first.id, "x")
    third = await logs.add(execution_id=execution, node_id="c", node_name="C")
    assert [change.row.id for change in await _take(changes, 1)] == [third.id]
    await logs.remove(third.id)
    await logs.update(second.id, error="y")
    assert [change.row.error for change in await _take(changes, 1)] == ["y"]

    rest = follow(db._shortcut, Trail(ExecutionLog), after=again.cursor)
    assert [change.row.id for change in await _take(rest, 1)] == [second.id]
    await changes.aclose()
    await rest.aclose()


async def test_the_rows_of_one_parent(db: Database) -> None:
    executions = [await _execution(db) for _ in range(2)]
    logs = ExecutionLogs(db._shortcut)
    for node in "abc":
        for execution in executions:
            await logs.add(execution_id=execution, node_id=node, node_name=node)

    trail = Trail(ExecutionLog, ("execution_id", executions[1]))
    found = await trail.changes(db._shortcut, after=None, limit=10)
    assert [(change.row.execution_id, change.row.node_id) for change in found] == [(executions[1], n) for n in "abc"]
    with pytest.raises(BadInput):
        Trail(ExecutionLog, ("execution_id", executions[0])).place(found[0].cursor)


async def test_more_rows_than_a_batch_come_in_order(db: Database) -> None:
    execution = await _execution(db)
    logs = ExecutionLogs(db._shortcut)
    await logs.add_many({"execution_id": execution, "node_id": str(n), "node_name": "n"} for n in range(25))

    changes = follow(db._shortcut, Trail(ExecutionLog), batch=10)
    assert [change.row.node_id for change in await _take(changes, 25)] == [str(n) for n in range(25)]
    await changes.aclose()


def test_what_has_no_number_of_its_transaction_cannot_be_followed() -> None:
    with pytest.raises(TypeError, match="users cannot be followed"):
        Trail(User)
    assert Trail(IntegrationEvent).topic == "integration_events"


async def test_a_place_is_refused_when_it_is_made_up(db: Database) -> None:
    trail = Trail(ExecutionLog)
    listing = "follow execution_logs"
    for values in (("1", 2, None), (1, 2, "x; drop table users"), (1, 2), (1, None, None)):
        with pytest.raises(BadInput):
            trail.place(cursor_of(listing, values))
    assert trail.place(cursor_of(listing, (1, 2, "5:9:6,7"))).seen == "5:9:6,7"
    for bad in (0, -1, float("inf"), float("nan")):
        with pytest.raises(BadInput, match="poll_seconds"):
            follow(db._shortcut, trail, poll_seconds=bad)


async def test_a_database_that_is_away_is_asked_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = await _execution(db)
    away = 3
    asked = db._shortcut.fetch_all

    async def fetch_all(plan: Any, parameters: Any) -> Any:
        nonlocal away
        if plan.name.endswith(".follow") and away:
            away -= 1
            raise Unavailable("away")
        return await asked(plan, parameters)

    monkeypatch.setattr(db._shortcut, "fetch_all", fetch_all)
    changes = follow(db._shortcut, Trail(ExecutionLog))
    await ExecutionLogs(db._shortcut).add(execution_id=execution, node_id="a", node_name="A")

    assert len(await _take(changes, 1)) == 1
    assert not away
    await changes.aclose()


async def test_a_database_that_stays_away_is_given_up(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.2)

    async def fetch_all(plan: Any, parameters: Any) -> Any:
        raise Unavailable("away for good")

    monkeypatch.setattr(db._shortcut, "fetch_all", fetch_all)
    with pytest.raises(Unavailable, match="away for good"):
        await _take(follow(db._shortcut, Trail(ExecutionLog)), 1)


async def test_what_was_told_but_held_back_is_looked_for_again_soon(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    execution = await _execution(db)
    url = db.settings.target.secret_url()
    changes = follow(db._shortcut, Trail(ExecutionLog), poll_seconds=2.0)
    waiting = asyncio.ensure_future(_take(changes, 1))
    async with agentdb.connect(url) as other, other.write() as unit:
        await unit.session.execute(text("SELECT pg_current_xact_id()"))  # nobody is told of it
        await ExecutionLogs(db._shortcut).add(execution_id=execution, node_id="a", node_name="A")
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert len(await waiting) == 1
    await changes.aclose()


@pytest.mark.long
async def test_an_idle_follower_hardly_asks(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    fetch_all = db._shortcut.fetch_all

    async def counted(plan: Any, parameters: Any) -> Any:
        nonlocal asked
        asked += plan.name.endswith(".follow")
        return await fetch_all(plan, parameters)

    monkeypatch.setattr(db._shortcut, "fetch_all", counted)
    changes = follow(db._shortcut, Trail(ExecutionLog), poll_seconds=0.1)
    waiting = asyncio.ensure_future(_take(changes, 1))
    await asyncio.sleep(1.0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert 2 <= asked <= 11


async def test_reading_on_is_as_quick_at_the_millionth_row_as_at_the_first(db: Database) -> None:
    """Every row before the place is left out by the index, and not by looking at it."""
    engine = db._there()
    plan: Plan[Any] = trails._committed(ContextLog, None)
    compiled: Compiled[Any] = plan.on(engine.dialect)
    explained: list[str]
    if isinstance(engine, PostgreSQL):
        plain = await asyncpg.connect(**db.settings.target.connect_arguments())
        await plain.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        explained = [row[0] for row in await plain.fetch(f"EXPLAIN {compiled.text}", 5, 5, 10)]
        await plain.close()
        assert any("ROW(tx, id) > " in line for line in explained if "Index Cond" in line)
    else:
        raw = sqlite3.connect(engine.path)
        rows = raw.execute(f"EXPLAIN QUERY PLAN {compiled.text}", [5] * len(compiled.binds)).fetchall()
        explained = [row[3] for row in rows]
        raw.close()
        assert explained == ["SEARCH context_log USING INDEX ix_context_log__tx_id (tx=? AND id>?)"]
    assert not any("Sort" in line or "TEMP" in line for line in explained)
