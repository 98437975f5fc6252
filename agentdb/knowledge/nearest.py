"""Which passages and memories are nearest to a vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import bindparam, select
from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.engine.connection import Script, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.vectors.expressions import distance
from agentdb.knowledge.models import KnowledgeBase, Memory
from agentdb.knowledge.passages import passage_filters
from agentdb.knowledge.remembering import Which

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Place:
    """A row, and how far it is from the vector."""

    id: int
    distance: float


def _nearest(model: Any, conditions: Sequence[ColumnElement[bool]]) -> Plan[Place]:
    table = model.__table__
    far = distance(table.c.embedding)
    statement = (
        select(table.c.id, far)
        .where(*conditions, table.c.embedding.is_not(None), far.is_not(None))
        .order_by(far, table.c.id.desc())
        .limit(bindparam("limit", type_=WholeType()))
    )
    return Plan(statement, name=f"{table.name}.nearest", rows=Place)


@cache
def passages_plan(tagged: bool) -> Plan[Place]:
    """Return the plan that finds a user's passages nearest to a vector."""
    return _nearest(KnowledgeBase, passage_filters(tagged))


@cache
def memories_plan(which: Which) -> Plan[Place]:
    """Return the plan that finds an agent's memories nearest to a vector."""
    return _nearest(Memory, which.conditions)


@cache
def _rows_plan(model: Any) -> Plan[Any]:
    table = model.__table__
    return Plan(select(model).where(among(table.c.id, "ids")), name=f"{table.name}.of ids", rows=model)


def rows_of(model: type[E], ids: Iterable[int]) -> Script[dict[int, E]]:
    """Within a script: return rows by their ids."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = yield from every(_rows_plan(model), ids=wanted)
    return {row.id: row for row in rows}


def similarity(place: Place) -> float:
    """Return how alike two vectors are: 1 for the same direction, 0 for a right angle or a vector of zeros."""
    return 1.0 - place.distance


def near(
    model: type[E], plan: Plan[Place], values: dict[str, Any], threshold: float | None
) -> Script[list[tuple[E, float]]]:
    """Within a script: return the nearest rows with their similarity, those only that are more alike than a threshold.

    A vector of zeros is like nothing: its rows come last.
    """
    places = yield from every(plan, **values)
    alike = [(place.id, similarity(place)) for place in places]
    kept = [(id_, alike_) for id_, alike_ in alike if threshold is None or alike_ > threshold]
    rows = yield from rows_of(model, (id_ for id_, _ in kept))
    return [(rows[id_], alike_) for id_, alike_ in kept if id_ in rows]
