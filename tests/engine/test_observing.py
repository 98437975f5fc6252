"""What a hook sees of both databases, and what it must not break."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.engine.choice import AnyEngine
from agentdb.engine.connection import Script, count, each, one
from agentdb.engine.events import Event, Statement, Wait
from agentdb.engine.plan import Plan
from agentdb.engine.postgresql.engine import PostgreSQL
from agentdb.errors import Conflict
from agentdb.supervisor.models import User
from agentdb.testing.factories import make_user
from tests.execution.queues import make_workflow


class Seen:
    """A hook that remembers."""

    def __init__(self, database: Database, *, parameters: bool = False) -> None:
        self.events: list[Event] = []
        self.stop = database.observe(self.events.append, parameters=parameters)

    @property
    def statements(self) -> list[Statement]:
        return [event for event in self.events if isinstance(event, Statement)]

    @property
    def waits(self) -> list[Wait]:
        return [event for event in self.events if isinstance(event, Wait)]

    def named(self, name: str) -> list[Statement]:
        return [statement for statement in self.statements if statement.name == name]

    def clear(self) -> None:
        self.events.clear()


@pytest.fixture
def seen(db: Database) -> Seen:
    return Seen(db)


async def until(there: Callable[[], bool]) -> None:
    """Give way to others until something is there."""
    async with asyncio.timeout(60):
        while not there():  # noqa: ASYNC110 (no event tells of it)
            await asyncio.sleep(0.001)


async def test_a_read_is_told_by_its_plans_name(db: Database, seen: Seen) -> None:
    user = await make_user(db, username="alice")
    seen.clear()

    await db.supervisor.users.get(user.id)

    (statement,) = seen.statements
    assert "user" in statement.name
    assert statement.sql.startswith("SELECT")
    assert statement.rows == 1
    assert statement.error is None
    assert 0 < statement.seconds < 60
    assert (statement.calls, statement.batch, statement.parameters) == (1, 1, None)
    assert "alice" not in repr(statement)


async def test_a_read_on_a_thread_and_a_list_are_told(db: Database, seen: Seen) -> None:
    for _ in range(3):
        await make_user(db)
    seen.clear()

    await db.supervisor.users.page(limit=2)
    await db.supervisor.users.count()

    listed, counted = seen.statements
    assert listed.rows == 3  # one more than was asked for tells that there is a next page
    assert counted.rows == 1


_RENAME_ALL = Plan[None](text("UPDATE users SET username = username || 'x'"), name="rename")
_FORGET = Plan[None](text("DELETE FROM users WHERE id < 0"), name="forget")


async def test_a_write_tells_how_many_rows_it_changed(db: Database, seen: Seen) -> None:
    for _ in range(3):
        await make_user(db)
    seen.clear()

    async with db.write() as unit:
        await unit._connection.execute(
            Plan[None](text("UPDATE users SET username = username || 'x'"), name="rename"), {}
        )
    await db._shortcut.execute(Plan[None](text("DELETE FROM users WHERE id < 0"), name="forget"), {})

    assert [(statement.name, statement.rows) for statement in seen.statements] == [("rename", 3), ("forget", 0)]


async def test_parameters_are_told_to_whom_asked_for_them_only(db: Database) -> None:
    without, asked = Seen(db), Seen(db, parameters=True)
    await make_user(db, username="alice")

    assert [statement.parameters for statement in without.statements] == [None] * len(without.statements)
    told = [statement.parameters for statement in asked.statements]
    assert any(parameters and parameters.get("username") == "alice" for parameters in told)


async def test_an_error_is_told_by_our_kind(db: Database, seen: Seen) -> None:
    await make_user(db, username="alice")
    seen.clear()

    with pytest.raises(Conflict):
        await make_user(db, username="alice")

    assert [(statement.error, statement.rows) for statement in seen.statements] == [("Conflict", None)]


async def test_an_error_in_a_unit_is_told(db: Database, seen: Seen) -> None:
    await make_user(db, username="alice")
    seen.clear()

    async def fail() -> None:
        async with db.write() as unit:
            await make_user(unit, username="alice")

    with pytest.raises(Conflict):
        await fail()

    assert [statement.error for statement in seen.statements] == ["Conflict"]


FIND = Plan[User](text("SELECT username FROM users WHERE username = :name"), name="find")
RENAME = Plan[None](text("UPDATE users SET username = :new WHERE username = :old"), name="rename")


def _script() -> Script[int]:
    yield from one(FIND, name="alice")
    yield from each(FIND, [{"name": "alice"}, {"name": "bob"}])
    return (yield from count(RENAME, old="alice", new="carol"))


async def test_a_script_is_told_step_by_step(db: Database, engine: AnyEngine, seen: Seen) -> None:
    await make_user(db, username="alice")
    seen.clear()

    assert await engine.run(_script) == 1

    assert [(step.name, step.rows) for step in seen.statements] == [
        ("find", 1),
        ("find", 1),
        ("find", 0),
        ("rename", 1),
    ]


async def test_bulk_rows_are_one_statement(db: Database, seen: Seen) -> None:
    await db.supervisor.users.add_many([{"username": f"user-{number}"} for number in range(20)])
    async with db.write() as unit:
        await unit.supervisor.users.add_many([{"username": f"other-{number}"} for number in range(10)])

    assert [statement.rows for statement in seen.statements] == [20, 10]
    assert all("users" in statement.sql for statement in seen.statements)


async def test_a_refused_bulk_row_is_told_as_a_conflict(db: Database, seen: Seen) -> None:
    with pytest.raises(Conflict):
        await db.supervisor.users.add_many([{"username": "same"}, {"username": "same"}])

    assert [statement.error for statement in seen.statements] == ["Conflict"]


async def test_a_stream_is_one_statement(db: Database, seen: Seen) -> None:
    await db.supervisor.users.add_many([{"username": f"user-{number}"} for number in range(20)])
    seen.clear()

    found = [user async for user in db.supervisor.users.stream()]

    assert len(found) == 20
    assert [statement.rows for statement in seen.statements] == [20]


async def test_a_sessions_statements_are_told(db: Database, seen: Seen) -> None:
    async with db.write() as unit:
        unit.session.add(User(username="alice"))
        await unit.session.flush()
    async with db.sessions() as session:
        await session.execute(text("SELECT 1"))
    with pytest.raises(Conflict):
        async with db.write() as unit:
            unit.session.add(User(username="alice"))

    told = [(statement.name, statement.error) for statement in seen.statements]
    assert told == [("session.insert", None), ("session.select", None), ("session.insert", "Conflict")]


async def test_calls_that_arrive_together_are_told_with_their_number(
    db: Database, engine: AnyEngine, seen: Seen
) -> None:
    user, workflow = await make_user(db), await make_workflow(db)
    seen.clear()

    await asyncio.gather(*(db.execution.executions.enqueue(workflow.id, user.id) for _ in range(9)))

    sent = seen.named("executions.enqueue")
    assert sum(statement.calls for statement in sent) == 9
    together = max(statement.batch for statement in sent)
    assert together > 1
    # PostgreSQL answers many calls by one statement, SQLite by one transaction.
    assert max(statement.calls for statement in sent) == (together if isinstance(engine, PostgreSQL) else 1)
    waited = {wait.queue: wait for wait in seen.waits}
    assert waited["joined calls" if isinstance(engine, PostgreSQL) else "writer queue"].error is None


_whose: ContextVar[str] = ContextVar("whose", default="nobody")


async def test_a_hook_is_called_in_the_context_of_its_caller(db: Database) -> None:
    user, workflow = await make_user(db), await make_workflow(db)
    whose: list[tuple[str, ...]] = []
    failed: list[str] = []

    def hook(event: Event) -> None:
        if isinstance(event, Statement) and event.name == "executions.enqueue":
            first = _whose.get()
            whose.append(tuple(caller[_whose] for caller in event.callers) or (first,))
            failed.extend([first] if whose[-1][0] != first else [])

    db.observe(hook)

    async def call(name: str) -> None:
        _whose.set(name)
        await db.execution.executions.enqueue(workflow.id, user.id)

    names = [f"caller-{number}" for number in range(8)]
    await asyncio.gather(*map(call, names))

    assert sorted(name for callers in whose for name in callers) == names
    assert "".join(failed) == ""


async def test_a_cancelled_callers_statement_is_told(db: Database, engine: AnyEngine, seen: Seen) -> None:
    slow = "SELECT pg_sleep(30)" if isinstance(engine, PostgreSQL) else _ENDLESS
    reading = asyncio.ensure_future(engine.fetch_all(Plan[Any](text(slow), name="slow"), {}))
    await asyncio.sleep(0.1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    await until(lambda: bool(seen.named("slow")))

    assert seen.named("slow")[0].error in {"CancelledError", "Unavailable"}


_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


async def test_a_wait_for_a_connection_is_told(db: Database, engine: AnyEngine, seen: Seen) -> None:
    pool = engine._pool if isinstance(engine, PostgreSQL) else engine._writers
    held = [await pool.acquire() for _ in range(pool._size)]
    waiting = asyncio.ensure_future(make_user(db))
    await until(lambda: bool(pool.waiting))

    for connection in held:
        pool.release(connection)
    await waiting

    (wait,) = seen.waits
    assert wait.queue == pool._name
    assert wait.error is None
    assert wait.seconds > 0


async def test_a_wait_in_vain_is_told(db: Database, engine: AnyEngine, seen: Seen) -> None:
    pool = engine._pool if isinstance(engine, PostgreSQL) else engine._writers
    held = [await pool.acquire() for _ in range(pool._size)]
    waiting = asyncio.ensure_future(make_user(db))
    await until(lambda: bool(pool.waiting))

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for connection in held:
        pool.release(connection)

    assert [wait.error for wait in seen.waits] == ["CancelledError"]


async def test_a_hook_that_raises_breaks_no_call_and_is_logged_once(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("the hook is broken")

    db.observe(fail)
    seen = Seen(db)
    user = await make_user(db)
    await db.supervisor.users.get(user.id)
    await asyncio.gather(*(make_user(db) for _ in range(5)))

    assert len(seen.statements) >= 3
    assert [record.levelno for record in caplog.records if "hook" in record.message] == [logging.ERROR]


async def test_a_hook_that_was_let_go_hears_no_more(db: Database, seen: Seen, engine: AnyEngine) -> None:
    seen.stop()
    seen.stop()
    await make_user(db)

    assert seen.events == []
    assert not engine._observing.listens


async def test_nothing_stays_taken_while_somebody_listens(db: Database, seen: Seen, at_rest: Callable[[], Any]) -> None:
    calls = [asyncio.ensure_future(make_user(db)) for _ in range(40)]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    await at_rest()
    assert not engine_of(db)._sharing._joiners


def engine_of(db: Database) -> Any:
    return db._there()
