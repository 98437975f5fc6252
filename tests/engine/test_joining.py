"""Calls answered together: each caller gets what is its own, and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agentdb
from agentdb.database import Database
from agentdb.engine.sqlite.engine import SQLite
from agentdb.engine.sqlite.writing import Write
from agentdb.errors import AgentDBError, BadInput, Conflict, MissingReference, NotFound, Unavailable
from agentdb.models import User
from agentdb.repository import Repository


class Users(Repository[User]):
    """Without the checks of the supervisor's own: the database refuses."""

    model = User


async def test_each_bad_caller_gets_its_own_error_and_the_others_are_stored(db: Database) -> None:
    await db.supervisor.users.add(username="taken")

    async def add(number: int) -> Any:
        match number % 8:
            case 3:
                return await db.supervisor.users.add(username="taken")
            case 5:
                return await db.supervisor.users.add(username=f"u{number}", lead_user_id=99_999)
            case 7:
                return await Users(db._over).add(username=f"bad name {number}")
        return await db.supervisor.users.add(username=f"u{number}")

    answers: list[Any] = await asyncio.gather(*(add(number) for number in range(64)), return_exceptions=True)

    for number, answer in enumerate(answers):
        match number % 8:
            case 3:
                assert isinstance(answer, Conflict)
                assert answer.constraint == "uq_users__username"
            case 5:
                assert isinstance(answer, MissingReference)
                assert answer.constraint == "fk_users__lead_user_id"
            case 7:
                assert isinstance(answer, BadInput)
                assert "username_characters" in str(answer)
            case _:
                assert answer.username == f"u{number}"
                assert (await db.supervisor.users.get(answer.id)).username == f"u{number}"
    assert await db.supervisor.users.count() == 1 + 40


async def test_ids_rise_in_the_order_the_callers_came(db: Database) -> None:
    users = await asyncio.gather(*(db.supervisor.users.add(username=f"u{number}") for number in range(100)))

    ids = [user.id for user in users[2:]]
    assert ids == sorted(ids)


async def test_gets_that_are_joined_give_separate_instances(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob", config={"a": [1]})

    found = await asyncio.gather(*(db.supervisor.users.get(user.id) for _ in range(50)))
    found[0].config["a"].append(2)

    assert len({id(one) for one in found}) == 50
    assert all(one.config == {"a": [1]} for one in found[1:])


async def test_gets_that_are_joined_find_each_its_own(db: Database) -> None:
    await db.supervisor.users.add_many([{"username": f"u{number}"} for number in range(30)])

    found = await asyncio.gather(*(db.supervisor.users.find(number % 40 + 1) for number in range(80)))

    assert [one and one.id for one in found] == [number % 40 + 1 if number % 40 < 30 else None for number in range(80)]


async def test_cancelled_callers_touch_only_themselves(db: Database) -> None:
    tasks = [asyncio.ensure_future(db.supervisor.users.add(username=f"u{number}")) for number in range(64)]
    await asyncio.sleep(0)
    for task in tasks[1::2]:
        task.cancel()

    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [answer.username for answer in answers[::2] if not isinstance(answer, BaseException)] == [
        f"u{number}" for number in range(0, 64, 2)
    ]
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[1::2])


async def test_a_lone_call_makes_no_task(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **kw: Any) -> Any:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **kw)

    loop.set_task_factory(factory)
    try:
        await db.supervisor.users.get(user.id)
        await db.supervisor.users.add(username="eve")
    finally:
        loop.set_task_factory(None)

    assert not made


async def test_joining_can_be_turned_off(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, joining=False) as db:
        users = await asyncio.gather(*(db.supervisor.users.add(username=f"u{number}") for number in range(20)))
        found = await asyncio.gather(*(db.supervisor.users.get(user.id) for user in users))

    assert [user.username for user in found] == [f"u{number}" for number in range(20)]


async def test_a_missing_conversation_among_joined_appends_is_told_to_its_caller(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    conversation = await db.conversation.conversations.create(user_id=user.id)

    answers = await asyncio.gather(
        *(
            db.conversation.messages.append(conversation.id if number % 3 else 4_711, "user", str(number))
            for number in range(30)
        ),
        return_exceptions=True,
    )

    assert all(isinstance(answer, NotFound) for answer in answers[::3])
    stored = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [message.position for message in stored] == list(range(1, 21))


# A transaction that is lost in the midst of a batch, on SQLite


def _lost_by_interrupt(raw: sqlite3.Connection) -> Any:
    raw.set_progress_handler(lambda: 1, 1)
    try:
        raw.execute("INSERT INTO roles (name, created_at, updated_at) SELECT 'x', 'x', 'x'")
    finally:
        raw.set_progress_handler(None, 0)


def _lost_by_rollback(raw: sqlite3.Connection) -> Any:
    # What SQLite does by itself after an I/O error.
    if raw.in_transaction:
        raw.execute("ROLLBACK")
    raise sqlite3.OperationalError("disk I/O error")


def _lost_by_a_full_disk(raw: sqlite3.Connection) -> Any:
    pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.execute(f"PRAGMA max_page_count = {pages}")
    try:
        raw.execute(
            "INSERT INTO roles (name, created_at, updated_at) "
            "SELECT 'full', printf('%.*c', 10000000, 'x'), printf('%.*c', 10000000, 'x')"
        )
    finally:
        raw.execute("PRAGMA max_page_count = 1073741823")


@pytest.mark.parametrize("lost", [_lost_by_interrupt, _lost_by_rollback, _lost_by_a_full_disk])
@pytest.mark.parametrize("place", [0, 1, 4, 7])
async def test_a_batch_that_loses_its_transaction_is_replayed_one_by_one(
    agentdb: Database, lost: Callable[[sqlite3.Connection], Any], place: int
) -> None:
    db = agentdb
    engine = db._there()
    assert isinstance(engine, SQLite)

    async def write(number: int) -> Any:
        if number == place:
            return await engine._write(Write(lost, single=place % 2 == 0))
        return await db.supervisor.users.add(username=f"u{number}")

    async with db.write() as unit:  # so that all of them wait, and become one batch
        await unit.supervisor.users.count()
        tasks = [asyncio.ensure_future(db.supervisor.users.add(username="first"))]
        tasks += [asyncio.ensure_future(write(number)) for number in range(8)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(answers[place + 1], sqlite3.Error | AgentDBError)
    stored = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(stored) == 8
    for user in stored:
        assert (await db.supervisor.users.get(user.id)).username == user.username
    assert await db.supervisor.users.count() == 8


async def test_a_file_held_too_long_is_told_to_all_who_wait_at_about_the_same_time(migrated_sqlite_url: str) -> None:
    path = Path(migrated_sqlite_url.removeprefix("sqlite:///"))
    async with agentdb.connect(migrated_sqlite_url, sqlite_busy_timeout_seconds=0.3) as db:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        loop = asyncio.get_running_loop()
        before = loop.time()

        answers = await asyncio.gather(
            *(db.supervisor.users.add(username=f"u{number}") for number in range(20)), return_exceptions=True
        )
        took = loop.time() - before
        other.execute("ROLLBACK")
        other.close()

        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert took < 3


async def test_an_append_to_one_conversation_does_not_wait_for_another_that_is_locked(
    agentdb_postgresql: Database,
) -> None:
    db = agentdb_postgresql
    user = await db.supervisor.users.add(username="bob")
    locked = await db.conversation.conversations.create(user_id=user.id)
    free = await db.conversation.conversations.create(user_id=user.id)

    async with db.write() as unit:
        await unit.conversation.messages.append(locked.id, "user", "held")
        waiting = [asyncio.ensure_future(db.conversation.messages.append(locked.id, "user", str(n))) for n in range(4)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1):
            stored = await asyncio.ensure_future(db.conversation.messages.append(free.id, "user", "free"))

    await asyncio.gather(*waiting)
    assert stored.position == 1


async def test_the_engine_waits_for_joined_calls_before_it_closes(migrated_url: str) -> None:
    db = agentdb.connect(migrated_url)
    await db.open()
    tasks = [asyncio.ensure_future(db.supervisor.users.add(username=f"u{number}")) for number in range(30)]
    await asyncio.sleep(0)
    await db.close()

    assert all(task.done() and task.exception() is None for task in tasks)
    async with agentdb.connect(migrated_url) as again:
        assert await again.supervisor.users.count() == 30
