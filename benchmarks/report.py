"""What came out: medians of the ratios of each round, bars, and a table."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.adapter import Kind
from benchmarks.work import DEEP_PAGE_SLOWDOWN, LEAD

OURS: Final = "agentdb"
BARE: Final = "bare driver"
_PACKAGES: Final = ("sqlalchemy", "asyncpg", "aiosqlite", "advanced-alchemy", "tortoise-orm")


class Work(Protocol):
    """What a line of the table says of the work: as `benchmarks.work.Row`."""

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> int: ...

    @property
    def bars(self) -> Mapping[Kind, float]: ...

    @property
    def leads(self) -> Mapping[tuple[Kind, str], float] | None: ...


@dataclass(slots=True)
class Cell:
    """The speeds of one row, operations a second: for each adapter one of each round."""

    kind: Kind
    row: Work
    speeds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, adapter: str, speed: float) -> None:
        self.speeds.setdefault(adapter, []).append(speed)

    def speed(self, adapter: str) -> float:
        """Return the median speed."""
        return statistics.median(self.speeds[adapter])

    def ratio(self, one: str, other: str) -> float:
        """Return the median over rounds of one's speed in the other's of the same round: seconds apart."""
        pairs = zip(self.speeds[one], self.speeds[other], strict=True)
        return statistics.median(first / second for first, second in pairs)

    @property
    def peers(self) -> list[str]:
        return [name for name in self.speeds if name not in {OURS, BARE}]

    def lead_wanted(self, peer: str) -> float:
        """Return how many times as fast as a peer ours has to be."""
        return (self.row.leads or {}).get((self.kind, peer), LEAD)

    def shortfalls(self) -> Iterator[str]:
        """Yield what is not met."""
        bar, reached = self.row.bars[self.kind], self.ratio(OURS, BARE)
        if reached < bar:
            yield f"{reached:.2f} of the bare driver, not {bar:g}"
        for peer in self.peers:
            if (lead := self.ratio(OURS, peer)) < self.lead_wanted(peer):
                yield f"{lead:.2f}x {peer}, not {self.lead_wanted(peer):g}"

    def plain(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {
            "database": self.kind,
            "work": self.row.name,
            "tasks": self.row.tasks,
            "bar": self.row.bars[self.kind],
            "speeds": self.speeds,
            "of_bare": {name: self.ratio(name, BARE) for name in self.speeds},
            "lead": {peer: self.ratio(OURS, peer) for peer in self.peers},
            "lead_wanted": {peer: self.lead_wanted(peer) for peer in self.peers},
            "shortfalls": list(self.shortfalls()),
        }


def header(rounds: int, seconds: float) -> list[str]:
    """Return what was measured, on what."""
    processor = next(_processors(), platform.processor() or platform.machine())
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    python = sys.version.split(maxsplit=1)[0]
    return [
        f"{platform.system()} {platform.release()}, {processor}; Python {python}, its own event loop, gc as default",
        f"{packages}",
        f"{rounds} rounds of {seconds:g} s a cell, interleaved, order rotated; medians, ratios within a round",
    ]


def _processors() -> Iterator[str]:
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            yield f"{len(names)} x {names[0]}"


def table(told: str, cells: Sequence[Cell]) -> list[str]:
    """Return the table of one database as Markdown."""
    peers = list(dict.fromkeys(peer for cell in cells for peer in cell.peers))
    heads = ["work", "tasks", "bare/s", "agentdb/s", "agentdb x", "bar", *(f"{peer} x" for peer in peers)]
    heads += ["least lead", "met"]
    lines = [[*_line(cell, peers)] for cell in cells]
    widths = [max(len(line[place]) for line in [heads, *lines]) for place in range(len(heads))]
    text = [_piped(heads, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    text += [_piped(line, widths) for line in lines]
    return [f"## {told}", "", *text, "", *_verdicts(cells)]


def _line(cell: Cell, peers: Sequence[str]) -> Iterator[str]:
    yield cell.row.name
    yield str(cell.row.tasks)
    yield f"{cell.speed(BARE):,.0f}"
    yield f"{cell.speed(OURS):,.0f}"
    yield f"{cell.ratio(OURS, BARE):.2f}"
    yield f"{cell.row.bars[cell.kind]:g}"
    for peer in peers:
        yield f"{cell.ratio(peer, BARE):.2f}" if peer in cell.speeds else ""
    leads = {peer: cell.ratio(OURS, peer) for peer in cell.peers}
    worst = min(leads, key=lambda peer: leads[peer] / cell.lead_wanted(peer), default=None)
    yield f"{leads[worst]:.1f} of {cell.lead_wanted(worst):g}, {worst}" if worst else ""
    yield "NO" if any(cell.shortfalls()) else "yes"


def _piped(values: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)) + " |"


def _verdicts(cells: Sequence[Cell]) -> Iterator[str]:
    short = [(cell, told) for cell in cells for told in cell.shortfalls()]
    for cell, told in short:
        yield f"- not met: {cell.row.name}, {cell.row.tasks} tasks: {told}"
    by_name = {cell.row.name: cell for cell in cells}
    first, deep = by_name.get("page of 50, at the first row"), by_name.get("page of 50, at row 90,000")
    if first is not None and deep is not None:
        pairs = zip(first.speeds[OURS], deep.speeds[OURS], strict=True)
        slowdown = statistics.median(one / other for one, other in pairs)
        met = "met" if slowdown <= DEEP_PAGE_SLOWDOWN else "not met"
        yield f"- {met}: a page at row 90,000 takes {slowdown:.2f} of the first page's time, at most 1.3"
    yield f"- {len(cells) - len({id(cell) for cell, _ in short})} of {len(cells)} rows met"
