"""Vectors in collections: stored in bulk or one by one, found by what they are near to, and by what is said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import delete, exists, select

from agentdb.engine.asked import finite, is_text, members, several, spelled, texts, whole_numbers
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each
from agentdb.engine.containing import tags_given
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_or_update
from agentdb.engine.vectors.ranking import comparable
from agentdb.errors import BadInput
from agentdb.guarded import Guarded
from agentdb.knowledge.collections import FIND, collections, missing
from agentdb.knowledge.models import Vector, VectorCollection
from agentdb.knowledge.records import Match
from agentdb.knowledge.searching import SHOWN, Search, check_effort, found, narrowed, vectors
from agentdb.living import Living
from agentdb.repository import capped

DESCRIBING: Final = frozenset(
    {"embedding", "content", "external_id", "tags", "metadata", "order", "conversation_id", "resource_id", "tool_id"}
)
ROWS_PER_TURN: Final = 100  # of the event loop, while they are checked

_OF_COLLECTION: Final = vectors.c.collection_id == of(vectors.c.collection_id)
_USER: Final = of(collections.c.user_id)
_REMOVE: Final = Plan[None](delete(vectors).where(_OF_COLLECTION, among(vectors.c.id, "ids")), name="vectors.remove")
_REMOVE_NAMED: Final = Plan[None](
    delete(vectors).where(_OF_COLLECTION, among(vectors.c.external_id, "external_ids")), name="vectors.remove: named"
)
_NAMED: Final = Plan[Vector](
    select(Vector).where(_OF_COLLECTION, SHOWN, among(vectors.c.external_id, "external_ids")).order_by(vectors.c.id),
    name="vectors.named",
    rows=Vector,
)


class Vectors(Guarded[Vector], Living[Vector]):
    """The vectors of collections. Every method is told whose the collection is; somebody else's is NotFound.

    What is a piece of a deleted conversation, or of a resource of one, is not shown.

    A vector is given as a mapping: ``embedding``, the numbers, and besides, as wanted, ``content``, the text they are
    of; ``external_id``, what the caller knows it by, single in the collection; ``tags``; ``metadata``; ``order``,
    ``conversation_id``, ``resource_id`` and ``tool_id``, what it is a piece of.
    """

    model = Vector
    shown = SHOWN
    owned = (
        exists().where(collections.c.id == vectors.c.collection_id, collections.c.user_id == _USER).correlate(vectors)
    )

    async def pour(self, user_id: int, collection_id: int, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add vectors in bulk, all or none, and return how many.

        Raises: NotFound; BadInput for an embedding of another length, or one that cannot be compared; Conflict for an
            ``external_id`` that is there; MissingReference.
        Cost: one read, and one COPY on PostgreSQL.
        """
        collection = await self._owned(user_id, collection_id)
        return await self.connection.insert_many(vectors, await _checked(collection, rows))

    async def put(self, user_id: int, collection_id: int, external_id: str, embedding: Any, **details: Any) -> Vector:
        """Add a vector, or replace the one that has this ``external_id``, and return it; what is not said stays.

        Raises: NotFound; BadInput; MissingReference.
        Cost: one read and one statement.
        """
        (row,) = await self._put(
            user_id, collection_id, [{**details, "external_id": external_id, "embedding": embedding}]
        )
        return self._there(row)

    async def put_many(self, user_id: int, collection_id: int, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add vectors, or replace those that have their ``external_id``, all or none, and return how many.

        Raises: as `put`; BadInput for one without an ``external_id``.
        Cost: one read, and one transaction with a statement for each.
        """
        return len(await self._put(user_id, collection_id, rows))

    async def discard(
        self, user_id: int, collection_id: int, *, ids: Iterable[int] = (), external_ids: Iterable[str] = ()
    ) -> int:
        """Remove vectors by their ids, or by what the caller knows them by, and return how many were there.

        Raises: NotFound for the collection; BadInput.
        Cost: one read, and one statement for each of the two.
        """
        await self._owned(user_id, collection_id)
        gone = 0
        if numbers := whole_numbers(ids, "ids"):
            gone += await self.connection.execute(_REMOVE, {"collection_id": collection_id, "ids": numbers})
        if names := _names(external_ids):
            asked = {"collection_id": collection_id, "external_ids": names}
            gone += await self.connection.execute(_REMOVE_NAMED, asked)
        return gone

    async def named(self, user_id: int, collection_id: int, external_ids: Iterable[str]) -> list[Vector]:
        """Return the vectors that the caller knows by these names, those that are there.

        Raises: NotFound for the collection; BadInput.
        """
        await self._owned(user_id, collection_id)
        asked = {"collection_id": collection_id, "external_ids": _names(external_ids)}
        return await self.connection.fetch_all(_NAMED, asked)

    async def search(
        self,
        user_id: int,
        collection_id: int,
        vector: Any,
        *,
        limit: int = 10,
        threshold: float | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        conversation_id: int | None = None,
        resource_id: int | None = None,
        tool_id: int | None = None,
        effort: int | None = None,
    ) -> list[Match]:
        """Return the vectors nearest to another, the nearest first, equally near ones by their ids.

        Both databases give the same order and the same scores. An index of the collection, which only PostgreSQL has
        (`Indexes`), finds almost all of the nearest; few that pass the filters are looked at one by one all the same,
        and so is everything where the index finds fewer than there are.

        Args:
            user_id: whose collection.
            collection_id: where to search.
            vector: numbers, as many as the collection's dimension; of zeros, its score with everything is 0 by angle.
            limit: how many.
            threshold: only scores strictly above; None: all. See `Match` for what a score is.
            tags: only those with all of these.
            metadata: only those whose metadata has all of these members: texts, numbers, true, false, null.
            conversation_id: only pieces of it.
            resource_id: only pieces of it.
            tool_id: only pieces of it.
            effort: how long an index is searched: ``ef_search`` of HNSW, ``probes`` of IVFFlat; None: enough for 98 %.

        Raises: NotFound; BadInput.
        Cost: one read, and one statement; by an index, one transaction.
        """
        least = None if threshold is None else finite(threshold, "a threshold")
        check_effort(effort)
        within = {"conversation_id": conversation_id, "resource_id": resource_id, "tool_id": tool_id}
        which, values = narrowed(tags, metadata, within)
        capped_limit = capped(limit, self.most)
        collection = await self._owned(user_id, collection_id)
        query = comparable(vector, collection.dimension)
        return await found(
            self.connection, Search(collection, query, capped_limit, least, which, values, effort=effort)
        )

    async def _owned(self, user_id: int, collection_id: int) -> VectorCollection:
        row: VectorCollection | None = await self.connection.fetch_one(
            FIND, {"user_id": user_id, "collection_id": collection_id}
        )
        if row is None:
            raise missing(user_id, collection_id)
        return row

    async def _put(
        self, user_id: int, collection_id: int, rows: Iterable[Mapping[str, Any]]
    ) -> Sequence[Vector | None]:
        collection = await self._owned(user_id, collection_id)
        checked = await _checked(collection, rows)
        for place, row in enumerate(checked):
            name = row.get("external_id")
            if not is_text(name) or not name:
                raise BadInput(f"row {place} has no external_id to put it by")
        return await self.connection.run(lambda: _stored(checked))


def _stored(rows: Sequence[Mapping[str, Any]]) -> Script[list[Vector | None]]:
    """Within a script: store rows in the order of their names, so that no two calls wait for each other."""
    places = sorted(range(len(rows)), key=lambda place: (rows[place]["external_id"], place))
    stored: list[Vector | None] = [None] * len(rows)
    for place in places:
        plan = insert_or_update(Vector, ("collection_id", "external_id"), frozenset(rows[place]))
        (stored[place],) = yield from each(plan, [rows[place]])
    return stored


async def _checked(collection: VectorCollection, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that fit a collection.

    Raises: BadInput naming the first that does not.
    """
    checked: list[dict[str, Any]] = []
    for place, row in enumerate(several(rows, "rows")):
        if not isinstance(row, Mapping):
            raise BadInput(f"row {place}: a vector is given as an object, not {type(row).__name__}")
        if unknown := set(row) - DESCRIBING:
            raise BadInput(f"row {place}: a vector has no {spelled(unknown)}; it has {', '.join(sorted(DESCRIBING))}")
        if "embedding" not in row:
            raise BadInput(f"row {place} has no embedding")
        given = {**row, "collection_id": collection.id}
        given["embedding"] = comparable(row["embedding"], collection.dimension, f"row {place}: the embedding")
        if "tags" in row:
            given["tags"] = tags_given(row["tags"])
        if "metadata" in row:
            given["metadata"] = members(row["metadata"], f"row {place}: metadata")
        checked.append(given)
        if place % ROWS_PER_TURN == ROWS_PER_TURN - 1:
            await asyncio.sleep(0)
    return checked


def _names(external_ids: Iterable[str]) -> list[str]:
    return texts(external_ids, "external_ids")
