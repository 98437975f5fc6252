"""What agentdb promises of each aggregate: so many a second, or so much of the speed of others who do the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.promises import conversation, execution, hub, supervisor
from benchmarks.promises.measuring import Promise, Stage
from benchmarks.report import Cell

AREAS = ("supervisor", "hub", "execution", "conversation")


@dataclass(slots=True)
class Kept:
    """What came of the promises.

    Attributes:
        tables: by their headings, rows that others take part in.
        promises: the others.
        missing: why others are not in the tables.
    """

    tables: dict[str, list[Cell]] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the promises as a table."""
        if self.promises:
            yield "| promise | measured | met |"
            yield "|---|---|---|"
        for promise in self.promises:
            yield f"| {promise.name} | {promise.told} | {'yes' if promise.is_met else 'NO'} |"
        for told in self.missing:
            yield f"- not measured: {told}"


async def keep(stage: Stage, areas: Sequence[str]) -> Kept:
    """Measure every promise of some aggregates on one database."""
    kept = Kept()
    if "supervisor" in areas:
        kept.promises += await supervisor.keep(stage)
    if "hub" in areas:
        kept.promises += await hub.keep(stage)
    if "execution" in areas:
        cells, promises = await execution.keep(stage)
        kept.tables["the queue"] = cells
        kept.promises += promises
    if "conversation" in areas:
        cells, promises, kept.missing = await conversation.keep(stage)
        kept.tables["a turn of a conversation"] = cells
        kept.promises += promises
    return kept
