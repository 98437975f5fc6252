"""How promises are measured: sides take turns, and only what was measured seconds apart is compared."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentdb import Database
from benchmarks.adapter import Kind, Place
from benchmarks.places import Another

WARM: Final = 0.25  # of the time that is measured

Act = Callable[[], Awaitable[Any]]
Side = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where promises are measured, and for how long.

    Attributes:
        database: ours, on the seeded database.
        place: that database, as drivers reach it.
        another: makes an empty one.
        rounds: how often every side has its turn.
        seconds: how long a turn is, where a time says so.
        jobs: how many executions a turn is, where their number says so.
        grown: how many rows a large table has.
    """

    database: Database
    place: Place
    another: Another
    rounds: int
    seconds: float
    jobs: int
    grown: int

    @property
    def kind(self) -> Kind:
        return self.place.kind


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """A row of the table: as `benchmarks.work.Row`, but the sides do it each in its own way."""

    name: str
    tasks: int
    bars: Mapping[Kind, float]
    leads: Mapping[tuple[Kind, str], float] | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise and what came of it."""

    name: str
    told: str
    is_met: bool


async def rate(act: Act, seconds: float, tasks: int = 1) -> float:
    """Return how often a second tasks do something; the first quarter more is not counted."""
    await _rate(act, seconds * WARM, tasks)
    return await _rate(act, seconds, tasks)


async def _rate(act: Act, seconds: float, tasks: int) -> float:
    done, began = 0, time.perf_counter()
    end = began + seconds

    async def repeat() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await act()
            done += 1

    await asyncio.gather(*(repeat() for _ in range(tasks)))
    return done / (time.perf_counter() - began)


async def alternate(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """Return what each side measures in each round; who is first moves on."""
    names = list(sides)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            measured[name].append(await sides[name]())
    return measured


def ratio(measured: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return the median over rounds of one side's measure in the other's of the same round."""
    pairs = zip(measured[one], measured[other], strict=True)
    return statistics.median(first / second for first, second in pairs)
