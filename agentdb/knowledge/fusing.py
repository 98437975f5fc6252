"""Reciprocal rank fusion: several lists of the same things become one, by their places alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)

CONSTANT: Final = 60


def fused(lists: Sequence[tuple[float, Sequence[K]]], fading: Mapping[K, float] | None = None) -> list[tuple[K, float]]:
    """Return what the lists hold with a score, the best first: of each list, its weight / (60 + place).

    What two lists hold beats what only one does, unless it is far down. The score does not look at how near or how
    well found something is, only at its place, so that lists of any measure go together. Equal scores keep the order of
    the lists: whatever comes first in them.

    Args:
        lists: each with its weight.
        fading: what a score is multiplied by, where it is not 1.

    Source: Cormack, Clarke and Buettcher, Reciprocal Rank Fusion Outperforms Condorcet, SIGIR 2009.
    """
    scores: dict[K, float] = {}
    for weight, things in lists:
        for place, thing in enumerate(things, 1):
            scores[thing] = scores.get(thing, 0.0) + weight / (CONSTANT + place)
    if fading:
        scores = {thing: score * fading.get(thing, 1.0) for thing, score in scores.items()}
    return sorted(scores.items(), key=lambda scored: -scored[1])  # stable
