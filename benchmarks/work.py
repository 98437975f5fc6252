"""The work: twelve rows, each an operation, how many tasks do it at once, its check, and its bars."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from benchmarks.adapter import CONVERSATIONS, COSTS, DEEP, PAGE, SPENDER, USERS, Adapter, Kind, Totals, Witness

_STEP: Final = 7_919  # a prime: the keys that are read hop about, alike for everybody


def title_of(key: int) -> str:
    """Return the title of a seeded conversation."""
    return f"Conversation {key}"


def context_of(key: int) -> dict[str, Any]:
    """Return the session context of a seeded conversation."""
    return {"locale": "en", "step": key, "tools": ["search", "shell"], "sandbox": {"network": False, "cpu": 2}}


METADATA: Final = {"origin": "benchmark", "tags": ["a", "b"]}
CONTENT: Final = [{"type": "text", "text": "What is the weather like in Lisbon tomorrow, and do I need an umbrella?"}]
ENTRY: Final = "$ ls -la\ntotal 12\n-rw-r--r-- 1 agent agent 402 README.md"


def given(number: int) -> dict[str, Any]:
    """Return what the caller says of a new conversation; uuid, times and the rest are the adapter's to give."""
    return {
        "user_id": number % USERS + 1,
        "title": title_of(number),
        "session_context": context_of(number),
        "metadata": METADATA,
    }


# Rows

Act = Callable[[Adapter, int], Awaitable[Any]]
Check = Callable[[Adapter, Witness], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: what is done.
        tasks: how many tasks do it at once.
        act: does it once.
        check: sees that it does what it should.
        bars: what ours must reach, as a multiple of the bare driver's speed.
        leads: what ours must reach as a multiple of each peer's speed, where it is not LEAD.
        units: how many rows one act counts for.
        once: one act fills the time.
    """

    name: str
    tasks: int
    act: Act
    check: Check
    bars: Mapping[Kind, float]
    leads: Mapping[tuple[Kind, str], float] | None = None
    units: int = 1
    once: bool = False


LEAD: Final = 2.0
DEEP_PAGE_SLOWDOWN: Final = 1.3


def _get(adapter: Adapter, number: int) -> Awaitable[Any]:
    return adapter.get(number * _STEP % CONVERSATIONS + 1)


async def _check_get(adapter: Adapter, _: Witness) -> None:
    for key in (17, CONVERSATIONS):
        _same(await adapter.get(key), key)
    first, second = await asyncio.gather(adapter.get(21), adapter.get(22))
    _same(first, 21)
    _same(second, 22)


def _same(row: Any, number: int, key: int | None = None) -> None:
    assert row.id == (number if key is None else key), row.id
    assert row.title == title_of(number), row.title
    assert row.session_context == context_of(number), row.session_context
    assert isinstance(row.created_at, datetime), row.created_at


def _insert(adapter: Adapter, number: int) -> Awaitable[Any]:
    return adapter.insert(given(number))


async def _check_insert(adapter: Adapter, witness: Witness) -> None:
    rows = await asyncio.gather(*(adapter.insert(given(number)) for number in range(20)))
    assert len({row.id for row in rows}) == len(rows)
    for number, row in enumerate(rows):
        _same(row, number, row.id)
        _same(await witness.get(row.id), number, row.id)


def _first_page(adapter: Adapter, _: int) -> Awaitable[Any]:
    return adapter.page(deep=False)


def _deep_page(adapter: Adapter, _: int) -> Awaitable[Any]:
    return adapter.page(deep=True)


async def _check_page(adapter: Adapter, _: Witness) -> None:
    for deep, after in ((False, 0), (True, DEEP)):
        rows = await adapter.page(deep=deep)
        assert [row.id for row in rows] == list(range(after + 1, after + 1 + PAGE)), [row.id for row in rows]
        _same(rows[-1], after + PAGE)


POURED: Final = [given(number) for number in range(20_000)]


def _pour(adapter: Adapter, _: int) -> Awaitable[Any]:
    return adapter.pour(POURED)


async def _check_pour(adapter: Adapter, witness: Witness) -> None:
    before = (await adapter.insert(given(0))).id
    assert await adapter.pour(POURED[:500]) == 500
    _same(await witness.get(before + 1), 0, before + 1)
    _same(await witness.get(before + 500), 499, before + 500)


def _short_log(adapter: Adapter, number: int) -> Awaitable[Any]:
    sessions = adapter.place.short_sessions
    return adapter.log(sessions[number % len(sessions)], ENTRY)


def _long_log(adapter: Adapter, _: int) -> Awaitable[Any]:
    return adapter.log(adapter.place.long_session, ENTRY)


async def _check_log(adapter: Adapter, witness: Witness) -> None:
    for session in (adapter.place.short_sessions[0], adapter.place.long_session):
        lines, _, _ = await witness.counted(session)
        entry = await adapter.log(session, ENTRY)
        assert (entry.run_session_id, entry.message) == (session, ENTRY)
        assert await witness.counted(session) == (lines + 3, entry.id, entry.id)


def _append(adapter: Adapter, _: int) -> Awaitable[Any]:
    return adapter.append(adapter.place.conversation, CONTENT)


async def _check_append(adapter: Adapter, _: Witness) -> None:
    messages = await asyncio.gather(*(adapter.append(adapter.place.conversation, CONTENT) for _ in range(40)))
    positions = sorted(message.position for message in messages)
    assert positions == list(range(positions[0], positions[0] + 40)), positions
    assert all(message.content == CONTENT and message.id for message in messages)


def _total(adapter: Adapter, _: int) -> Awaitable[Any]:
    return adapter.total(SPENDER)


async def _check_total(adapter: Adapter, _: Witness) -> None:
    many = COSTS // 10
    assert await adapter.total(SPENDER) == Totals(many, 1200 * many, 300 * many, 0, 0, Decimal("0.0031") * many)


ROWS: Final = (
    Row("get by key", 1, _get, _check_get, {"postgresql": 0.65, "sqlite": 0.40}),
    Row("get by key", 16, _get, _check_get, {"postgresql": 1.5, "sqlite": 0.40}),
    Row(
        "insert one row",
        1,
        _insert,
        _check_insert,
        {"postgresql": 0.75, "sqlite": 0.30},
        leads={("postgresql", "Tortoise"): 1.5},
    ),
    Row("insert one row", 16, _insert, _check_insert, {"postgresql": 1.5, "sqlite": 0.9}),
    Row("insert one row", 64, _insert, _check_insert, {"postgresql": 3.0, "sqlite": 1.3}),
    Row("page of 50, at the first row", 1, _first_page, _check_page, {"postgresql": 0.5, "sqlite": 0.30}),
    Row("page of 50, at row 90,000", 1, _deep_page, _check_page, {"postgresql": 0.5, "sqlite": 0.30}),
    Row(
        "insert 20,000 rows",
        1,
        _pour,
        _check_pour,
        {"postgresql": 1.0, "sqlite": 0.9},
        units=len(POURED),
        once=True,
    ),
    Row("log entry after 10", 1, _short_log, _check_log, {"postgresql": 0.7, "sqlite": 0.3}),
    Row("log entry after 10,000", 1, _long_log, _check_log, {"postgresql": 0.7, "sqlite": 0.3}),
    Row("message, one hot conversation", 64, _append, _check_append, {"postgresql": 5.0, "sqlite": 1.0}),
    Row(
        "sum of a user's 50,000 costs",
        1,
        _total,
        _check_total,
        {"postgresql": 0.75, "sqlite": 0.5},
        # The server does all the work: no worse is all that can be asked. Within the noise, that is 0.8.
        leads={
            (kind, peer): 0.8
            for kind in ("postgresql", "sqlite")
            for peer in ("SQLAlchemy ORM", "advanced-alchemy", "Tortoise")
        },
    ),
)


async def measure(row: Row, adapter: Adapter, seconds: float) -> float:
    """Return how many operations a second an adapter does, at least one of them."""
    numbers = itertools.count()
    finished = 0

    async def work() -> None:
        nonlocal finished
        while True:
            await row.act(adapter, next(numbers))
            finished += 1
            if row.once or time.perf_counter() >= deadline:
                return

    before = time.perf_counter()
    deadline = before + seconds
    if row.tasks == 1:
        await work()
    else:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(row.tasks):
                tasks.create_task(work())
    return finished * row.units / (time.perf_counter() - before)
