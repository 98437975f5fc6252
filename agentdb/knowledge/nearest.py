"""Which passages and memories are nearest to a vector: the same, in the same order, on both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import numpy as np
from sqlalchemy import select
from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.engine.asked import finite
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.engine.vectors.expressions import nearest_of_all
from agentdb.engine.vectors.ranking import Distance, comparable, keys, score, settled
from agentdb.knowledge.models import KnowledgeBase, Memory
from agentdb.knowledge.passages import passage_filters
from agentdb.knowledge.remembering import Which
from agentdb.knowledge.searching import MOST_CANDIDATES, SPARE

E = TypeVar("E", bound=Entity)

DIMENSION: Final[int] = KnowledgeBase.__table__.c.embedding.type.length  # type: ignore[attr-defined]


def _nearest(model: Any, conditions: Sequence[ColumnElement[bool]]) -> Plan[Any]:
    table = model.__table__
    return Plan(select(model).where(nearest_of_all(table, conditions)), name=f"{table.name}.nearest", rows=model)


@cache
def passages_plan(tagged: bool) -> Plan[KnowledgeBase]:
    """Return the plan that finds a user's passages nearest to a vector."""
    return _nearest(KnowledgeBase, passage_filters(tagged))


@cache
def memories_plan(which: Which) -> Plan[Memory]:
    """Return the plan that finds an agent's memories nearest to a vector."""
    return _nearest(Memory, which.conditions)


async def nearest(
    connection: Connection,
    plan: Plan[E],
    values: Mapping[str, Any],
    vector: Any,
    limit: int,
    *,
    dimension: int | None = None,
    threshold: float | None = None,
) -> list[tuple[E, float]]:
    """Return the nearest rows with their similarity, the most alike first; of equally alike ones the latest first.

    A similarity is 1 for the same direction, 0 for a right angle or a vector of zeros.

    Args:
        connection: where they are.
        plan: finds candidates.
        values: its parameters but those of the vector.
        vector: what they are near to.
        limit: how many.
        dimension: how many numbers the vector has to have; None: those of the rows that are as long are looked at.
        threshold: only rows more alike than this; None: any.

    Raises: BadInput.
    Cost: one read; more where so many are equally near that float32 cannot tell them apart.
    """
    if threshold is not None:
        threshold = finite(threshold, "a threshold")
    query = comparable(vector, dimension)
    rough = connection.chains  # otherwise they are reckoned with by float64 there too
    by, count = Distance.cosine, limit + (SPARE if rough else 0)
    while True:
        rows: Sequence[Any] = await connection.fetch_all(plan, {**values, "vector": query, "count": count})
        if not rows:
            return []
        stacked = np.stack([row.embedding for row in rows])
        reckoned = keys(stacked, query, by)
        enough = not rough or len(rows) < count or count >= MOST_CANDIDATES
        if enough or settled(stacked, reckoned, query, by, limit):
            break
        count = min(4 * count, max(MOST_CANDIDATES, limit + SPARE))
    places = np.lexsort(([-row.id for row in rows], reckoned))[:limit]
    alike = [(rows[place], score(float(reckoned[place]), by)) for place in places]
    return [(row, alike_) for row, alike_ in alike if threshold is None or alike_ > threshold]
