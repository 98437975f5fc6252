"""Calls that are answered together: who gives up, who fails, and whose row is whose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agentdb.database import Database
from agentdb.engine.joining import Joiner
from agentdb.errors import MissingReference
from agentdb.models import Run
from agentdb.repository import Repository
from agentdb.testing.factories import make_user


class BareRuns(Repository[Run]):
    model = Run


class Work:
    """Doubles numbers; each turn has to be released."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.begun: asyncio.Queue[list[int]] = asyncio.Queue()

    async def alone(self, number: int) -> int:
        return (await self.together([number]))[0]

    async def together(self, numbers: Sequence[int]) -> list[int]:
        self.begun.put_nowait(list(numbers))
        await self.turns.acquire()
        return [2 * number for number in numbers]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def joiner(work: Work) -> Joiner[int, int]:
    return Joiner(work.alone, work.together, lanes=1, most=10, most_alone=1, patience=None)


async def test_who_gives_up_while_waiting_is_never_run(work: Work, joiner: Joiner[int, int]) -> None:
    calls = [asyncio.ensure_future(joiner(number)) for number in range(4)]
    await asyncio.sleep(0)
    calls[2].cancel()
    await asyncio.sleep(0)
    work.turns.release()
    work.turns.release()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [await work.begun.get(), await work.begun.get()] == [[0], [1, 3]]
    assert (answers[0], answers[1], answers[3]) == (0, 2, 6)


async def test_who_gives_up_within_a_batch_keeps_nobody_from_an_answer(work: Work, joiner: Joiner[int, int]) -> None:
    calls = [asyncio.ensure_future(joiner(number)) for number in range(4)]
    assert await work.begun.get() == [0]
    work.turns.release()
    assert await work.begun.get() == [1, 2, 3]
    calls[1].cancel()
    await asyncio.sleep(0)
    work.turns.release()

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*calls[2:])

    assert answers == [4, 6]
    await joiner.close()


async def test_each_of_many_who_add_at_once_is_told_the_id_of_its_own_row(db: Database) -> None:
    added = await asyncio.gather(*(db.supervisor.users.add(username=f"u{number}") for number in range(50)))

    stored = {user.id: user.username async for user in db.supervisor.users.stream()}
    assert stored == {user.id: user.username for user in added}


async def test_a_script_that_fails_among_others_leaves_none_of_its_statements(db: Database) -> None:
    user = await make_user(db)

    answers = await asyncio.gather(
        *(
            db.hub.runs.start(user_id=user.id, model_name="m", host_id=4_711 if number % 2 else None)
            for number in range(20)
        ),
        return_exceptions=True,
    )

    assert all(isinstance(answer, MissingReference) for answer in answers[1::2])
    assert await BareRuns(db._over).count() == await db.hub.runs.count() == 10


async def test_calls_that_differ_take_turns_each_with_all_of_its_kind(work: Work) -> None:
    joiner: Joiner[int, int] = Joiner(
        work.alone, work.together, lanes=1, most=10, most_alone=1, patience=None, alike=lambda number: number % 2
    )
    calls = [asyncio.ensure_future(joiner(number)) for number in (0, 1, 2, 3, 4, 5)]
    await asyncio.sleep(0)
    calls[3].cancel()
    await asyncio.sleep(0)
    for _ in range(3):
        work.turns.release()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [work.begun.get_nowait() for _ in range(work.begun.qsize())] == [[0], [1, 5], [2, 4]]
    assert [answers[place] for place in (0, 1, 2, 4, 5)] == [0, 2, 4, 8, 10]


async def test_who_has_waited_long_enough_opens_another_lane(work: Work) -> None:
    joiner: Joiner[int, int] = Joiner(work.alone, work.together, lanes=1, most=10, most_alone=1, patience=0.01)
    calls = [asyncio.ensure_future(joiner(number)) for number in range(3)]

    assert [await work.begun.get(), await work.begun.get()] == [[0], [1, 2]]  # nobody was answered meanwhile
    work.turns.release()
    work.turns.release()

    assert await asyncio.gather(*calls) == [0, 2, 4]


async def test_as_many_lanes_open_for_the_impatient_as_were_named(work: Work) -> None:
    joiner: Joiner[int, int] = Joiner(work.alone, work.together, lanes=1, most=1, most_alone=1, patience=0.01, relief=2)
    calls = [asyncio.ensure_future(joiner(number)) for number in range(4)]

    assert [await work.begun.get() for _ in range(3)] == [[0], [1], [2]]  # nobody was answered meanwhile
    await asyncio.sleep(0.05)
    assert work.begun.empty()
    for _ in range(4):
        work.turns.release()

    assert await asyncio.gather(*calls) == [0, 2, 4, 6]
