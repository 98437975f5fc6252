"""What callers are told, and what readers see, when something ends halfway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

import agentdb
from agentdb.database import Database
from agentdb.engine.joining import Joiner, Undone
from agentdb.models import User


class Work:
    """Calls that are counted, and a batch that ends with an error."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure
        self.ran: list[int] = []
        self.hold = asyncio.Event()

    async def alone(self, number: int) -> int:
        self.ran.append(number)
        if number == 0:
            await self.hold.wait()
        return number

    async def together(self, _numbers: Sequence[int]) -> list[int | BaseException]:
        raise self.failure


async def _calls(work: Work) -> list[int | BaseException]:
    joiner: Joiner[int, int] = Joiner(work.alone, work.together, lanes=1, most=10, most_alone=2, patience=None)
    calls = [asyncio.ensure_future(joiner(number)) for number in range(4)]
    await asyncio.sleep(0)
    work.hold.set()
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_batch_whose_answer_is_lost_is_not_run_again() -> None:
    work = Work(agentdb.Unavailable("the connection was lost"))

    answers = await _calls(work)

    assert answers[0] == 0
    assert all(isinstance(answer, agentdb.Unavailable) for answer in answers[1:])
    assert work.ran == [0]


async def test_a_batch_that_stored_nothing_is_run_one_by_one() -> None:
    work = Work(Undone())

    answers = await _calls(work)

    assert answers == [0, 1, 2, 3]
    assert sorted(work.ran) == [0, 1, 2, 3]


async def test_a_stream_that_is_left_halfway_keeps_no_snapshot(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, sqlite_readers=1, pool_size=1) as db:
        await db.supervisor.users.add_many([{"username": f"u{number}"} for number in range(1200)])
        async with db.read() as unit:
            stream = unit.supervisor.users.stream()
            async for _ in stream:
                break
        await db.supervisor.users.create(username="after")

        assert await db.supervisor.users.count() == 1201


async def test_an_entry_that_waits_for_another_writer_gets_a_later_id(db: Database) -> None:
    user = await db.supervisor.users.create(username="bob")
    run = await db.hub.runs.start(user_id=user.id, model_name="m")

    async with db.write() as unit:
        await unit.hub.logs.append(run, [{"role": "llm", "message": "first"}])
        waiting = asyncio.ensure_future(db.hub.logs.append(run, [{"role": "llm", "message": "last"}]))
        await asyncio.sleep(0.05)
        second = (await unit.hub.logs.append(run, [{"role": "llm", "message": "second"}]))[0]
    last = (await waiting)[0]

    assert last.id > second.id
    assert [entry.message for entry in await db.hub.logs.after(run.id, second.id)] == ["last"]


async def test_a_debug_log_holds_no_values(migrated_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with agentdb.connect(migrated_url, sqlite_inline_reads=False) as db:
        user = await db.supervisor.users.create(username="bob", email="canary@example.org")
        await db.supervisor.users.get(user.id)
        async with db.write() as unit:
            unit.session.add(User(username="carol", email="other-canary@example.org"))
        with pytest.raises(agentdb.Conflict):
            async with db.write() as unit:
                unit.session.add(User(username="dave", email="other-canary@example.org"))

    assert "canary" not in caplog.text
