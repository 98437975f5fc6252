"""The pool: never more than its size, first come first served, nothing lost."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.engine.pool import Pool
from agentdb.errors import Unavailable


class Wire:
    """Stands for a driver's connection."""

    open = True
    dirty = False


class Wires:
    """Makes wires, and knows how many there ever were at once."""

    def __init__(self) -> None:
        self.made: list[Wire] = []
        self.most = 0
        self.refusing = False
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def alive(self) -> int:
        return sum(wire.open for wire in self.made)

    async def connect(self) -> Wire:
        await self.gate.wait()
        if self.refusing:
            raise Unavailable("refused")
        self.made.append(Wire())
        self.most = max(self.most, self.alive)
        return self.made[-1]

    async def clean(self, wire: Wire) -> bool:
        await asyncio.sleep(0)
        wire.dirty = False
        return wire.open

    async def discard(self, wire: Wire) -> None:
        await asyncio.sleep(0)
        wire.open = False


@pytest.fixture
def wires() -> Wires:
    return Wires()


@pytest.fixture
def pool(wires: Wires) -> Pool[Wire]:
    return pool_of(wires, 2)


def pool_of(wires: Wires, size: int, *, timeout_seconds: float = 30) -> Pool[Wire]:
    return Pool(
        connect=wires.connect,
        usable=lambda wire: wire.open,
        clean=wires.clean,
        discard=wires.discard,
        size=size,
        timeout_seconds=timeout_seconds,
    )


async def settled(pool: Pool[Wire]) -> None:
    while pool._tasks:
        await asyncio.wait(pool._tasks)


async def test_a_pool_never_exceeds_its_size(pool: Pool[Wire], wires: Wires) -> None:
    async def use(number: int) -> None:
        wire = pool.take() or await pool.acquire()
        assert not wire.dirty
        wire.dirty = True
        await asyncio.sleep(0)
        wire.dirty = bool(number % 3)
        if number % 7 == 0:
            wire.open = False
        pool.release(wire, clean=not wire.dirty)

    await asyncio.gather(*(use(number) for number in range(200)))
    await settled(pool)

    assert wires.most <= 2
    assert pool._places == len(pool._idle) == wires.alive


async def test_connections_are_handed_over_in_the_order_of_asking(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    held = await pool.acquire()
    served: list[int] = []

    async def use(number: int) -> None:
        wire = await pool.acquire()
        served.append(number)
        pool.release(wire)

    tasks = [asyncio.ensure_future(use(number)) for number in range(20)]
    await asyncio.sleep(0)
    pool.release(held)
    await asyncio.gather(*tasks)

    assert served == list(range(20))


async def test_one_who_asks_at_once_does_not_overtake_those_who_wait(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    held = await pool.acquire()
    waiter = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    pool.release(held)
    overtaken = pool.take()

    assert overtaken is None
    assert await waiter is held


async def test_a_time_out_is_unavailable_and_leaves_no_waiter(wires: Wires) -> None:
    pool = pool_of(wires, 1, timeout_seconds=0.02)
    held = await pool.acquire()

    with pytest.raises(Unavailable, match="AGENTDB_POOL_SIZE"):
        await pool.acquire()

    assert pool.waiting == 0
    pool.release(held)
    assert await pool.acquire() is held


async def test_a_waiter_cancelled_at_the_moment_of_hand_over_loses_nothing(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    held = await pool.acquire()
    first, second = (asyncio.ensure_future(pool.acquire()) for _ in range(2))
    await asyncio.sleep(0)

    pool.release(held)  # the first waiter has it now, and has not run yet
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert await asyncio.wait_for(second, 1) is held


async def test_a_waiter_cancelled_as_it_is_given_a_place_passes_the_place_on(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    held = await pool.acquire()
    first, second = (asyncio.ensure_future(pool.acquire()) for _ in range(2))
    await asyncio.sleep(0)

    held.open = False
    pool.release(held)  # broken: its place goes to the first waiter
    first.cancel()
    await asyncio.wait([first])

    assert (await asyncio.wait_for(second, 1)).open
    assert pool._places == 1


async def test_a_waiter_cancelled_while_the_pool_closes_is_cancelled(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    held = await pool.acquire()
    waiter = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    closing = asyncio.ensure_future(pool.close())
    await asyncio.sleep(0)  # told, and not run yet
    waiter.cancel()
    pool.release(held)
    await asyncio.wait([waiter, closing])

    assert waiter.cancelled()
    assert wires.alive == 0


async def test_a_connection_that_cannot_be_made_gives_its_place_to_the_next(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    wires.gate.clear()
    first, second = (asyncio.ensure_future(pool.acquire()) for _ in range(2))
    await asyncio.sleep(0)

    wires.refusing = True
    wires.gate.set()
    with pytest.raises(Unavailable, match="refused"):
        await first
    wires.refusing = False

    assert (await asyncio.gather(second, return_exceptions=True))[0] is not None
    pool._waiting.clear()
    assert pool._places <= 1


async def test_making_a_connection_can_be_cancelled(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    wires.gate.clear()
    making = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    making.cancel()
    await asyncio.wait([making])
    wires.gate.set()

    assert pool._places == 0
    assert (await pool.acquire()).open


async def test_closed_connections_are_dropped(pool: Pool[Wire], wires: Wires) -> None:
    wire = await pool.acquire()
    pool.release(wire)
    wire.open = False

    other = await pool.acquire()

    assert other is not wire
    assert pool._places == 1


async def test_what_may_carry_state_is_cleaned_before_anyone_sees_it(wires: Wires) -> None:
    pool = pool_of(wires, 1)
    wire = await pool.acquire()
    wire.dirty = True
    waiter = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    pool.release(wire, clean=False)

    assert await waiter is wire
    assert not wire.dirty


async def test_giving_back_twice_gives_back_once(pool: Pool[Wire]) -> None:
    wire = await pool.acquire()
    pool.release(wire)
    pool.release(wire)

    assert await pool.acquire() is wire
    assert pool.take() is None


async def test_closing_tells_those_who_wait_and_closes_what_comes_back(pool: Pool[Wire], wires: Wires) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    waiter = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)

    closing = asyncio.ensure_future(pool.close())
    with pytest.raises(Unavailable, match="closed"):
        await waiter
    for wire in held:
        pool.release(wire)
    await closing
    await settled(pool)

    assert wires.alive == 0
    with pytest.raises(Unavailable, match="closed"):
        await pool.acquire()
