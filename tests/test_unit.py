"""Units of work: all or nothing, one task at a time, and the session inside."""

# ruff: noqa: PT012 (a unit is several statements, and refuses at its end)

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, InvalidRequestError

import agentdb
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict
from agentdb.models import Agent, Cost, Memory, User


async def _names(db: Database) -> set[str]:
    return {user.username async for user in db.supervisor.users.stream()}


async def test_a_unit_commits_when_its_block_is_left(db: Database) -> None:
    async with db.write() as unit:
        await unit.supervisor.users.add(username="bob")
        assert not await asyncio.ensure_future(_count(db))

    assert await _names(db) == {"bob"}


async def _count(db: Database) -> int:
    return await db.supervisor.users.count()


async def test_any_error_rolls_a_unit_back(db: Database) -> None:
    for error in (RuntimeError("x"), asyncio.CancelledError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            async with db.write() as unit:
                await unit.supervisor.users.add(username="bob")
                raise error

    assert await _names(db) == set()


async def test_a_swallowed_error_makes_the_unit_refuse_and_not_commit(db: Database) -> None:
    await db.supervisor.users.add(username="taken")

    with pytest.raises(BadInput, match="rolled back"):
        async with db.write() as unit:
            await unit.supervisor.users.add(username="first")
            with pytest.raises(Conflict):
                await unit.supervisor.users.add(username="taken")
            with pytest.raises(BadInput, match="failed already"):
                await unit.supervisor.users.add(username="second")

    assert await _names(db) == {"taken"}


async def test_a_swallowed_error_in_the_midst_of_a_script_leaves_nothing_of_it(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    conversation = await db.conversation.conversations.create(user_id=user.id)
    said = [{"role": "user", "content": "1"}, {"role": "nobody", "content": "2"}]

    with pytest.raises(BadInput, match="rolled back"):
        async with db.write() as unit:
            with pytest.raises(BadInput, match="nobody"):
                await unit.conversation.messages.append_many(conversation.id, said)

    assert (await db.conversation.messages.append(conversation.id, "user", "first")).position == 1


async def test_a_swallowed_bulk_error_makes_the_unit_refuse(db: Database) -> None:
    with pytest.raises(BadInput, match="rolled back"):
        async with db.write() as unit:
            await unit.supervisor.users.add(username="first")
            with pytest.raises(BadInput, match="row 1"):
                await unit.hub.hosts.add_many([{"name": "a"}, {"name": 5}])

    assert await _names(db) == set()


async def test_a_savepoint_undoes_only_what_is_inside(db: Database) -> None:
    await db.supervisor.users.add(username="taken")

    async with db.write() as unit:
        await unit.supervisor.users.add(username="before")
        with pytest.raises(Conflict):
            async with unit.savepoint():
                await unit.supervisor.users.add(username="inside")
                async with unit.savepoint():
                    await unit.supervisor.users.add(username="deeper")
                await unit.supervisor.users.add(username="taken")
        await unit.supervisor.users.add(username="after")

    assert await _names(db) == {"taken", "before", "after"}


async def test_a_unit_serves_one_task_at_a_time(db: Database) -> None:
    with pytest.raises(BadInput):
        async with db.write() as unit:
            await unit.supervisor.users.count()
            answers = await asyncio.gather(*(unit.supervisor.users.count() for _ in range(3)), return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, BadInput)]
            assert len(refused) == 2
            assert all("one task at a time" in str(error) for error in refused)
            raise refused[0]


async def test_a_unit_is_refused_after_its_end(db: Database) -> None:
    async with db.write() as unit:
        await unit.supervisor.users.add(username="bob")

    with pytest.raises(BadInput, match="over"):
        await unit.supervisor.users.count()
    with pytest.raises(BadInput, match="over"):
        async with unit.savepoint():
            pass
    with pytest.raises(BadInput, match="over"):
        _ = unit.session


async def test_shortcuts_and_doors_are_refused_inside_a_unit_of_the_same_task(db: Database) -> None:
    async with db.write() as unit:
        await unit.supervisor.users.add(username="bob")
        for call in (
            db.supervisor.users.count,
            lambda: db.supervisor.users.add(username="eve"),
            lambda: db.supervisor.users.add_many([{"username": "eve"}]),
            lambda: db.hub.hosts.register(name="box"),
            lambda: anext(db.supervisor.users.stream()),
        ):
            with pytest.raises(BadInput, match="inside an open write unit"):
                await call()
        for door in (db.write, db.read):
            with pytest.raises(BadInput, match="inside an open write unit"):
                async with door():
                    pass

    async with db.read():
        with pytest.raises(BadInput, match="inside an open read unit"):
            await db.supervisor.users.count()
    assert await _names(db) == {"bob"}


async def test_units_of_other_tasks_and_databases_are_not_affected(db: Database) -> None:
    async with agentdb.connect("sqlite://") as other, db.write() as unit:
        await unit.supervisor.users.add(username="bob")
        assert await asyncio.ensure_future(_count(db)) == 0
        async with other.write() as copied:
            await copied.supervisor.users.add(username="bob")
        assert await other.supervisor.users.count() == 1


async def test_a_read_unit_sees_one_snapshot(db: Database) -> None:
    async with db.read() as unit:
        before = await unit.supervisor.users.count()
        await asyncio.create_task(_add(db, "bob"))
        after = await unit.supervisor.users.count()

    assert before == after == 0
    assert await db.supervisor.users.count() == 1


async def _add(db: Database, username: str) -> None:
    await db.supervisor.users.add(username=username)


# unit.session


async def test_the_session_is_in_the_same_transaction_and_flushed_before_each_repository_call(db: Database) -> None:
    async with db.write() as unit:
        bob = await unit.supervisor.users.add(username="bob")
        unit.session.add(bob)
        bob.title = "changed"
        unit.session.add(User(username="eve"))
        assert await unit.supervisor.users.count() == 2
        assert (await unit.supervisor.users.get(bob.id)).title == "changed"
        found = await unit.session.scalars(select(User.username).order_by(User.id))
        assert list(found) == ["bob", "eve"]
        unit.session.add(User(username="late"))

    assert await _names(db) == {"bob", "eve", "late"}


async def test_the_session_refuses_to_end_the_transaction(db: Database) -> None:
    async with db.write() as unit:
        unit.session.add(User(username="bob"))
        with pytest.raises(BadInput):
            await unit.session.commit()
        with pytest.raises(BadInput):
            await unit.session.rollback()
        with pytest.raises(BadInput):
            unit.session.begin()

    assert await _names(db) == {"bob"}


async def test_a_nested_part_of_the_session_can_fail_alone(db: Database) -> None:
    await db.supervisor.users.add(username="taken")

    async with db.write() as unit:
        unit.session.add(User(username="bob"))
        with pytest.raises(IntegrityError):
            async with unit.session.begin_nested():
                unit.session.add(User(username="taken"))
        unit.session.add(User(username="eve"))
        await unit.supervisor.users.add(username="sue")

    assert await _names(db) == {"taken", "bob", "eve", "sue"}


async def test_a_swallowed_error_of_the_session_makes_the_unit_refuse(db: Database) -> None:
    await db.supervisor.users.add(username="taken")

    with pytest.raises(BadInput, match="rolled back"):
        async with db.write() as unit:
            await unit.supervisor.users.add(username="first")
            unit.session.add(User(username="taken"))
            with pytest.raises(IntegrityError):
                await unit.session.flush()

    assert await _names(db) == {"taken"}


async def test_every_kind_of_column_works_through_the_session(db: Database) -> None:
    moment = datetime(2026, 11, 21, 3, 4, 5, 678_901, tzinfo=UTC)
    vector = np.array([1.5, -2.25, 0], dtype=np.float32)

    async with db.write() as unit:
        user = User(username="bob", config={"a": [1, None, "é"]}, email_verified_at=moment)
        agent = Agent(name="agent")
        unit.session.add_all([user, agent])
        await unit.session.flush()
        unit.session.add(Memory(agent_id=agent.id, content="m", embedding=vector, tags=["x"]))
        unit.session.add(Cost(source="console", model="m", cost=Decimal("0.000000001")))
    async with db.read() as unit:
        session = unit.session
        user = (await session.scalars(select(User))).one()
        memory = (await session.scalars(select(Memory))).one()
        cost = (await session.scalars(select(Cost))).one()

    assert (user.config, user.email_verified_at) == ({"a": [1, None, "é"]}, moment)
    assert memory.embedding is not None
    assert np.array_equal(memory.embedding, vector)
    assert cost.cost == Decimal("0.000000001")
    again = await db.supervisor.users.get(user.id)  # the connections speak as before
    assert (again.config, again.email_verified_at) == (user.config, moment)


async def test_a_session_is_of_no_use_after_the_unit(db: Database) -> None:
    async with db.write() as unit:
        session = unit.session
        await session.execute(select(User))

    with pytest.raises((BadInput, InvalidRequestError)):
        await session.execute(select(User))


async def test_run_repeats_the_whole_unit_and_gives_up_in_the_end(migrated_url: str) -> None:
    attempts: list[Any] = []
    async with agentdb.connect(migrated_url, retry_attempts=3) as db:

        async def work(unit: Any) -> None:
            attempts.append(unit)
            await unit.supervisor.users.add(username=f"u{len(attempts)}")
            raise agentdb.Contended("in the way")

        with pytest.raises(agentdb.Contended):
            await db.run(work)

        assert len(attempts) == 3
        assert await _names(db) == set()
