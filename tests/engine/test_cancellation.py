"""A task cancelled at any await: the pool keeps its size, nothing is half-written, and the next call is answered."""

# ruff: noqa: PT012 (a unit is several statements, and refuses at its end)

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from agentdb.database import Database
from agentdb.engine.choice import AnyEngine
from agentdb.engine.connection import Script, one
from agentdb.engine.statements import insert_one
from agentdb.models import User
from agentdb.repository import Repository
from agentdb.unit import Unit

Operation = Callable[[Database], Coroutine[Any, Any, Any]]


class Users(Repository[User]):
    model = User


def _two() -> Script[None]:
    yield from one(insert_one(User), username="left")
    yield from one(insert_one(User), username="right")


async def _fetch_one(db: Database) -> None:
    await db.supervisor.users.find(1)


async def _fetch_all(db: Database) -> None:
    await db.supervisor.users.page(limit=2)


async def _insert(db: Database) -> None:
    await db.supervisor.users.add(username="left")


async def _execute(db: Database) -> None:
    await db.supervisor.users.remove(1)


async def _insert_many(db: Database) -> None:
    await db.supervisor.users.add_many([{"username": "left"}, {"username": "right"}])


async def _insert_many_with_a_bad_row(db: Database) -> None:
    await db.supervisor.users.add_many([{"username": "left"}, {"username": "right"}, {"username": "there"}])


async def _script(db: Database) -> None:
    await db._there().run(_two)


async def _write(db: Database) -> None:
    async with db.write() as unit:
        await unit.supervisor.users.add(username="left")
        await unit.supervisor.users.add(username="right")


async def _write_with_savepoint(db: Database) -> None:
    async with db.write() as unit:
        await unit.supervisor.users.add(username="left")
        async with unit.savepoint():
            await unit.supervisor.users.add(username="right")


async def _write_with_session(db: Database) -> None:
    async with db.write() as unit:
        await unit.supervisor.users.add(username="left")
        unit.session.add(User(username="right"))


async def _read(db: Database) -> None:
    async with db.read() as unit:
        await unit.supervisor.users.count()
        await unit.supervisor.users.find(1)


async def _stream(db: Database) -> None:
    async for _ in db.supervisor.users.stream():
        pass


async def _session(db: Database) -> None:
    async with db.sessions() as session:
        session.add_all([User(username="left"), User(username="right")])
        await session.commit()


OPERATIONS: list[Operation] = [
    _fetch_one,
    _fetch_all,
    _insert,
    _execute,
    _insert_many,
    _insert_many_with_a_bad_row,
    _script,
    _write,
    _write_with_savepoint,
    _write_with_session,
    _read,
    _stream,
    _session,
]


async def _written(db: Database) -> Sequence[User]:
    """Return what an operation has written: left, right, both or neither."""
    return (await db.supervisor.users.page(username__in=["left", "right"])).items


async def _cancelled_after(operation: Coroutine[Any, Any, Any], turns: int) -> bool:
    """Run an operation for some turns of the loop, cancel it, and tell whether it had ended before."""
    task = asyncio.ensure_future(operation)
    for _ in range(turns):
        await asyncio.sleep(0)
        if task.done():
            break
    ended = task.done()
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
    return ended


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__[1:])
async def test_an_operation_cancelled_at_any_turn_leaves_nothing_behind(
    db: Database, at_rest: Callable[[], Awaitable[None]], operation: Operation
) -> None:
    await db.supervisor.users.add_many([{"username": "there"}, {"username": "too"}])

    # A turn of the loop in which nothing has arrived is a turn too: far enough to pass the end now and then.
    turns = 0
    ended = 0
    while ended < 3 and turns < 120:
        ended += await _cancelled_after(operation(db), turns)
        turns += 1
        await at_rest()
        written = await _written(db)
        if operation is not _insert:
            assert len(written) in {0, 2}, f"half-written when cancelled after {turns} turns"
        await db.supervisor.users.add(username=f"after-{turns}")
        for user in written:
            await db.supervisor.users.remove(user.id)


class _Step:
    """An awaitable that counts the suspensions of a coroutine, and cancels its own task at one of them."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], place: int) -> None:
        self.coroutine = coroutine
        self.place = place
        self.reached = False

    def __await__(self) -> Any:
        inner = self.coroutine.__await__()
        suspended = 0
        try:
            waited = inner.send(None)
            while True:
                if suspended == self.place:
                    self.reached = True
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                suspended += 1
                try:
                    yield waited
                except BaseException as error:  # noqa: BLE001 (it is passed on)
                    waited = inner.throw(error)
                else:
                    waited = inner.send(None)
        except StopIteration:
            return


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__[1:])
async def test_an_operation_cancelled_at_each_of_its_awaits_leaves_nothing_behind(
    db: Database, at_rest: Callable[[], Awaitable[None]], operation: Operation
) -> None:
    await db.supervisor.users.add_many([{"username": "there"}, {"username": "too"}])

    place = 0
    while True:
        step = _Step(operation(db), place)

        async def run(step: _Step = step) -> None:
            await step

        task = asyncio.ensure_future(run())
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        await at_rest()
        written = await _written(db)
        if operation is not _insert:
            assert len(written) in {0, 2}, f"half-written when cancelled at await {place}"
        await db.supervisor.users.add(username=f"after-{place}")
        if not step.reached:
            break
        for user in written:
            await db.supervisor.users.remove(user.id)
        place += 1
    assert place > 0 or operation is _fetch_one  # an inline read awaits nothing


async def test_a_session_cancelled_at_each_of_its_awaits_leaves_connections_that_sessions_can_use(
    db: Database, at_rest: Callable[[], Awaitable[None]]
) -> None:
    """The driver, too, keeps the transaction of a session: the next one would begin with a savepoint in none."""

    async def count() -> int:
        async with db.sessions() as session:
            return await session.scalar(select(func.count()).select_from(User)) or 0

    place, reached = 0, True
    while reached:
        step = _Step(count(), place)

        async def run(step: _Step = step) -> None:
            await step

        await asyncio.wait([asyncio.ensure_future(run())])
        await at_rest()

        assert await asyncio.gather(*(count() for _ in range(db.connections()["size"]))), f"cancelled at await {place}"
        place, reached = place + 1, step.reached
    assert place > 1


async def test_a_savepoint_left_by_cancellation_fails_the_unit_that_catches_it(db: Database) -> None:
    from agentdb.errors import BadInput

    with pytest.raises(BadInput, match="failed"):
        async with db.write() as unit:
            try:
                async with asyncio.timeout(0.05), unit.savepoint():
                    await unit.supervisor.users.add(username="half")
                    await asyncio.Event().wait()
            except TimeoutError:
                pass

    assert not await db.supervisor.users.exists(username="half")


async def test_many_tasks_cancelled_at_random_moments_leave_a_full_pool(
    db: Database, engine: AnyEngine, at_rest: Callable[[], Awaitable[None]]
) -> None:
    async def work(number: int) -> None:
        async def inside(unit: Unit) -> None:
            await unit.supervisor.users.add(username=f"a-{number}")
            await unit.supervisor.users.add(username=f"b-{number}")

        await db.run(inside)

    tasks = [asyncio.ensure_future(work(number)) for number in range(60)]
    for turn in range(len(tasks)):
        await asyncio.sleep(0)
        if turn % 2:
            tasks[turn - 1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await at_rest()

    names = [user.username async for user in db.supervisor.users.stream()]
    assert sorted(name[2:] for name in names if name[0] == "a") == sorted(name[2:] for name in names if name[0] == "b")
    assert {f"a-{number}" for number in range(1, 60, 2)} <= set(names)
