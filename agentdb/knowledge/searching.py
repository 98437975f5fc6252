"""How the nearest vectors of a collection are found: by looking at each, or by the collection's index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from sqlalchemy import Table, and_, exists, func, literal, or_, select
from sqlalchemy.sql import ColumnElement

from agentdb.conversation.models import Conversation, Resource
from agentdb.engine.asked import whole_number
from agentdb.engine.blobs import Vector as Numbers
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, every, one
from agentdb.engine.containing import tags_given
from agentdb.engine.plan import Plan
from agentdb.engine.vectors.expressions import nearest, says, tagged
from agentdb.engine.vectors.indexing import CANDIDATES, IndexKind, found_by_index, setting
from agentdb.engine.vectors.ranking import Distance, apart, keys, norm, order, score, settled
from agentdb.errors import BadInput
from agentdb.knowledge.models import Vector, VectorCollection
from agentdb.knowledge.records import Match

vectors: Final[Table] = Vector.__table__  # type: ignore[assignment]

SPARE: Final = 8  # candidates beyond the limit: equally near ones are told apart among them
MOST_CANDIDATES: Final = 4_096
FEW: Final = 5_000  # that pass a filter are looked at one by one: quicker than an index, and none is missed
EF_SEARCH: Final = 200
MOST_EF_SEARCH: Final = 1_000
PROBES: Final = 24
MOST_SCANNED: Final = 200_000
PLANS_KEPT: Final = 512

_GONE: Final = Conversation.__table__.c.deleted_at.is_not(None)
# A piece of nothing, or of what is shown: of a conversation that is deleted, nothing is.
SHOWN: Final = and_(
    or_(
        vectors.c.conversation_id.is_(None),
        ~exists().where(Conversation.__table__.c.id == vectors.c.conversation_id, _GONE).correlate(vectors),
    ),
    or_(
        vectors.c.resource_id.is_(None),
        ~exists()
        .where(
            Resource.__table__.c.id == vectors.c.resource_id,
            Conversation.__table__.c.id == Resource.__table__.c.conversation_id,
            _GONE,
        )
        .correlate(vectors),
    ),
)


@dataclass(frozen=True, slots=True)
class Which:
    """What a search is narrowed by: what makes a plan of its own."""

    tagged: bool = False
    said: bool = False
    within: tuple[str, ...] = ()
    shown: bool = False  # looked at for each vector, and not only for those that are found

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions."""
        every_: list[ColumnElement[bool]] = [vectors.c[name] == of(vectors.c[name]) for name in self.within]
        if self.tagged:
            every_.append(tagged(vectors))
        if self.said:
            every_.append(says(vectors.c.metadata, "metadata"))
        if self.shown:
            every_.append(SHOWN)
        return every_

    def __bool__(self) -> bool:
        return self.tagged or self.said or bool(self.within)


@dataclass(frozen=True, slots=True)
class Search:
    """A search, checked."""

    collection: VectorCollection
    query: Numbers
    limit: int
    threshold: float | None
    which: Which
    values: Mapping[str, Any]
    effort: int | None = None

    @property
    def by(self) -> Distance:
        """The collection's distance."""
        return Distance(self.collection.distance)

    def asking(self, count: int) -> dict[str, Any]:
        """Return the parameters of a plan."""
        return {**self.values, "collection_id": self.collection.id, "vector": self.query, "count": count}

    def ranked(self, rows: Sequence[Vector]) -> list[Match]:
        """Return candidates as what is found: the nearest first, equally near ones by their ids."""
        if not rows:
            return []
        reckoned = keys(np.stack([row.embedding for row in rows]), self.query, self.by)  # type: ignore[misc]
        places = order(np.array([row.id for row in rows]), reckoned, self.limit)
        found = [
            Match(rows[place], score(float(reckoned[place]), self.by), apart(float(reckoned[place]), self.by))
            for place in places
        ]
        return [match for match in found if self.threshold is None or match.score > self.threshold]


def check_effort(effort: Any) -> None:
    """Check how long an index is to be searched; None: as long as it takes.

    Raises: BadInput for what is no whole number from 1.
    """
    if effort is not None and whole_number(effort, "effort") < 1:
        raise BadInput(f"effort is a whole number from 1, not {effort}")


def narrowed(tags: Any, metadata: Any, within: Mapping[str, int | None]) -> tuple[Which, dict[str, Any]]:
    """Return what a search is narrowed by, and the values.

    Raises: BadInput.
    """
    values: dict[str, Any] = {name: value for name, value in within.items() if value is not None}
    which = tuple(values)
    if given := tags_given(tags):
        values["tags"] = given
    if metadata is not None and not isinstance(metadata, Mapping):
        raise BadInput(f"metadata: an object was expected, not {type(metadata).__name__}")
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not (value is None or isinstance(value, str | int | float | bool)):
            raise BadInput(f"metadata is found by texts, numbers, true, false and null, not by {type(value).__name__}")
    if metadata:
        values["metadata"] = dict(metadata)
    return Which("tags" in values, "metadata" in values, which), values


async def found(connection: Connection, search: Search) -> list[Match]:
    """Return what a search finds: by the collection's index where that finds enough, otherwise by looking at each."""
    by_index = indexed(connection, search)
    if by_index:
        rows = await connection.run(lambda: by_index_script(search))
        if rows is not None:
            return search.ranked(rows)
    return await exactly(connection, search)


def indexed(connection: Connection, search: Search) -> bool:
    """Tell whether a collection's index may answer: a vector of zeros has no neighbours by an angle."""
    return connection.chains and search.collection.index_kind is not None and norm(search.query) > 0


async def exactly(connection: Connection, search: Search) -> list[Match]:
    """Return what a search finds by looking at each vector."""
    # Where each is looked at in memory, it is by float64, and as many as are wanted are the nearest; whether they are
    # shown is asked of those alone, and of each only when one was not.
    rough = connection.chains
    which, count = replace(search.which, shown=rough), search.limit + (SPARE if rough else 0)
    while True:
        rows = await connection.fetch_all(exact_plan(search.by, which), search.asking(count))
        if len(rows) < count and not which.shown:
            which = replace(which, shown=True)
            continue
        if not rough or len(rows) < count or count >= MOST_CANDIDATES or _settled(search, rows):
            return search.ranked(rows)
        count = min(4 * count, max(MOST_CANDIDATES, search.limit + SPARE))


def _settled(search: Search, rows: Sequence[Vector]) -> bool:
    stacked = np.stack([row.embedding for row in rows])  # type: ignore[misc]
    return settled(stacked, keys(stacked, search.query, search.by), search.query, search.by, search.limit)


def by_index_script(search: Search) -> Script[list[Vector] | None]:
    """Within a script: return candidates that an index finds; None when looking at each is quicker, or finds more."""
    collection, count = search.collection, search.limit + SPARE
    if search.which:
        many = yield from one(few_plan(search.which), **{**search.values, "collection_id": collection.id})
        if many is not None and many <= FEW:
            return None
    for name, value in _settings(search, count):
        yield from one(setting(local=True), name=name, value=str(value))
    kind = IndexKind(collection.index_kind)  # type: ignore[arg-type]
    plan = index_plan(collection.id, kind, search.by, collection.dimension, search.which)
    asked = {name: value for name, value in search.asking(count).items() if name != "collection_id"}
    rows = yield from every(plan, **asked)
    if len(rows) < search.limit:
        return None
    if search.by is Distance.cosine:  # an index leaves vectors of zeros out, and their score is 0
        stacked = np.stack([row.embedding for row in rows])  # type: ignore[misc]
        if np.sort(keys(stacked, search.query, search.by))[search.limit - 1] >= 0:
            return None
    return rows


def _settings(search: Search, count: int) -> list[tuple[str, int | str]]:
    if search.collection.index_kind is IndexKind.ivfflat:
        return [
            ("ivfflat.probes", min(search.effort or PROBES, 32_768)),
            ("ivfflat.iterative_scan", "relaxed_order"),
        ]
    effort = min(max(search.effort or EF_SEARCH, count), MOST_EF_SEARCH)
    if search.collection.index_kind is IndexKind.hnsw_binary:
        effort = max(effort, CANDIDATES)
    return [
        ("hnsw.ef_search", effort),
        ("hnsw.iterative_scan", "strict_order"),
        ("hnsw.max_scan_tuples", MOST_SCANNED),
    ]


@cache
def exact_plan(by: Distance, which: Which) -> Plan[Vector]:
    """Return the plan that finds the nearest by looking at each."""
    statement = select(Vector).where(nearest(vectors, by, which.conditions), SHOWN)
    return Plan(statement, name="vectors.search", rows=Vector)


@lru_cache(PLANS_KEPT)
def index_plan(collection: int, kind: IndexKind, by: Distance, dimension: int, which: Which) -> Plan[Vector]:
    """Return the plan that finds the nearest by a collection's index."""
    found_ = found_by_index(vectors, collection, kind, by, dimension, [*which.conditions, SHOWN])
    statement = select(Vector).where(vectors.c.id.in_(found_.correlate(None)))
    return Plan(statement, name="vectors.search: index", rows=Vector)


@cache
def few_plan(which: Which) -> Plan[int]:
    """Return the plan that counts what passes a filter, as far as it matters."""
    passing = select(literal(1).label("passes")).where(
        vectors.c.collection_id == of(vectors.c.collection_id), *which.conditions
    )
    return Plan(
        select(func.count()).select_from(passing.limit(FEW + 1).subquery("passing")),
        name="vectors.search: how many pass",
    )
