"""Indexes of collections: made and dropped while others read and write, and measured against looking at each vector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from sqlalchemy import bindparam, func, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.schema.catalog import OF_COLLECTION
from agentdb.engine.vectors.indexing import (
    EXTENSION,
    IN_CATALOG,
    TRY_TO_BE_ALONE,
    IndexKind,
    check_version,
    drop_index,
    index_name,
    make_index,
    setting,
)
from agentdb.engine.vectors.ranking import Distance, comparable
from agentdb.errors import BadInput, Contended, brief
from agentdb.knowledge.collections import FIND, collections, missing
from agentdb.knowledge.models import Vector, VectorCollection
from agentdb.knowledge.records import CollectionIndex, Match, Recall
from agentdb.knowledge.searching import Search, Which, check_effort, exactly, found, vectors
from agentdb.repository import Aggregate, capped

LISTS: Final = 100
MEMORY_MIB: Final = 512
RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "m": (2, 100),
    "ef_construction": (4, 1_000),
    "lists": (1, 32_768),
    "memory_mib": (1, 1 << 20),
}

_MARK: Final = Plan[None](
    update(collections)
    .where(collections.c.id == of(collections.c.id, "collection_id"))
    .values(index_kind=of(collections.c.index_kind)),
    name="indexes: mark",
)
_SAMPLE: Final = Plan[Vector](
    select(Vector)
    .where(vectors.c.collection_id == of(vectors.c.collection_id), vectors.c.embedding.is_not(None))
    .order_by(func.random())
    .limit(bindparam("limit", type_=WholeType())),
    name="indexes.recall: sample",
    rows=Vector,
)
_COLLECTIONS: Final = Plan[int](select(collections.c.id), name="indexes.tidy: collections")
_NONE: Final = CollectionIndex(None, valid=True, bytes=0)


class Indexes(Aggregate):
    """Indexes of collections, one for each at most. Only PostgreSQL has any.

    SQLite looks at each vector, in memory, and finds all of the nearest: there, to build and to drop does nothing.
    """

    async def build(
        self,
        user_id: int,
        collection_id: int,
        kind: IndexKind | str = IndexKind.hnsw,
        *,
        m: int = 16,
        ef_construction: int = 64,
        lists: int = LISTS,
        memory_mib: int = MEMORY_MIB,
        anew: bool = False,
    ) -> CollectionIndex:
        """Index a collection while others read and write it, and return the index.

        An index of this kind that is whole is left as it is. One that a crash left half made is dropped, and made
        anew; until an index is whole, searches look at each vector.

        Args:
            user_id: whose collection.
            collection_id: which.
            kind: ``hnsw``: finds 98 % and more of the nearest, as it is set here. ``hnsw_binary``: the same of the
                signs alone, in a sixteenth of the room, the best 200 of which are ranked by what they are; for many
                dimensions, and numbers on both sides of 0. ``ivfflat``: built soonest, finds least; of a collection
                that is filled already.
            m: of HNSW: how many neighbours each vector knows.
            ef_construction: of HNSW: how many are looked at for these.
            lists: of IVFFlat: how many.
            memory_mib: what building may take on the server.
            anew: even where a whole one is there, such as for other numbers.

        Raises: NotFound; BadInput; BadSettings where pgvector is too old, or this user may not make indexes; Contended
            while somebody else is building this index; BadInput inside a unit.
        Cost: minutes, for a million vectors; it waits for every transaction that began before it.
        """
        kind = _kind_of(kind)
        given = {"m": m, "ef_construction": ef_construction, "lists": lists, "memory_mib": memory_mib}
        for name, value in given.items():
            least, most = RANGES[name]
            if type(value) is not int or not least <= value <= most:
                raise BadInput(f"{name} is a whole number from {least} to {most}, not {brief(value)}")
        if ef_construction < 2 * m:
            raise BadInput(f"ef_construction is at least twice m, not {ef_construction} for {m}")
        collection = await self._owned(user_id, collection_id)
        options = {"lists": lists} if kind is IndexKind.ivfflat else {"m": m, "ef_construction": ef_construction}
        make = Plan[None](
            make_index(collection.id, kind, Distance(collection.distance), collection.dimension, options),
            name="indexes.build",
        )
        if not self.connection.chains:
            return _NONE
        await self.connection.outside(partial(_build, collection, kind, make, memory_mib, anew=anew))
        return await self.state(user_id, collection_id)

    async def drop(self, user_id: int, collection_id: int) -> bool:
        """Drop a collection's index while others read and write, and tell whether it had one.

        Raises: NotFound; Contended while somebody is building it; BadInput inside a unit.
        """
        collection = await self._owned(user_id, collection_id)
        if not self.connection.chains:
            return False
        return await self.connection.outside(lambda: _drop(collection.id))

    async def tidy(self) -> int:
        """Drop the indexes of collections that are gone, and return how many.

        Raises: BadInput inside a unit.
        """
        return await self.connection.outside(_tidy) if self.connection.chains else 0

    async def state(self, user_id: int, collection_id: int) -> CollectionIndex:
        """Return the index of a collection, as the server knows it.

        Raises: NotFound.
        """
        collection = await self._owned(user_id, collection_id)
        if not self.connection.chains:
            return _NONE
        name = index_name(collection.id)
        known = await self.connection.fetch_all(IN_CATALOG, {"name": name})
        for index in known:
            if index.name == name:
                return CollectionIndex(collection.index_kind, index.valid, index.bytes)
        return _NONE

    async def recall(
        self, user_id: int, collection_id: int, *, sample: int = 50, limit: int = 10, effort: int | None = None
    ) -> Recall:
        """Return how many of the nearest a collection's searches find, of what looking at each finds.

        Args:
            user_id: whose collection.
            collection_id: which.
            sample: how many of its vectors, picked at random, are searched for; each is left out of its own neighbours.
            limit: how many neighbours.
            effort: as of `Vectors.search`.

        Raises: NotFound; BadInput.
        Cost: two searches for each of the sample.
        """
        limit = capped(limit, self.most - 1)
        check_effort(effort)
        collection = await self._owned(user_id, collection_id)
        asked = {"collection_id": collection.id, "limit": capped(sample, self.most)}
        recalls: list[float] = []
        for row in await self.connection.fetch_all(_SAMPLE, asked):
            query = comparable(row.embedding, collection.dimension)
            search = Search(collection, query, limit + 1, None, Which(), {}, effort=effort)
            wanted = _others(await exactly(self.connection, search), row.id, limit)
            got = _others(await found(self.connection, search), row.id, limit)
            if wanted:
                # What is as near as the last of them is as good.
                farthest = max(wanted.values())
                near = sum(distance <= farthest for distance in got.values())
                recalls.append(min(near, len(wanted)) / len(wanted))
        if not recalls:
            return Recall(1.0, 1.0, 0)
        return Recall(sum(recalls) / len(recalls), min(recalls), len(recalls))

    async def _owned(self, user_id: int, collection_id: int) -> VectorCollection:
        row: VectorCollection | None = await self.connection.fetch_one(
            FIND, {"user_id": user_id, "collection_id": collection_id}
        )
        if row is None:
            raise missing(user_id, collection_id)
        return row


def _kind_of(kind: IndexKind | str) -> IndexKind:
    try:
        return IndexKind(kind)
    except ValueError:
        raise BadInput(f"there is no kind of index {brief(kind)}; there are {', '.join(IndexKind)}") from None


def _others(matches: list[Match], own: int, limit: int) -> dict[int, float]:
    return {match.row.id: match.distance for match in matches if match.row.id != own and limit > 0}


def _alone(collection: int) -> Script[None]:
    """Within a script outside any transaction: keep others from building this index, until the connection ends."""
    name = index_name(collection)
    if not (yield from one(TRY_TO_BE_ALONE, index=name)):
        raise Contended(f"somebody else is building or dropping the index of collection {collection}; try again later")


def _build(
    collection: VectorCollection, kind: IndexKind, make: Plan[None], memory_mib: int, *, anew: bool
) -> Script[None]:
    check_version((yield from one(EXTENSION)))
    yield from _alone(collection.id)
    name = index_name(collection.id)
    present = yield from one(FIND, collection_id=collection.id, user_id=collection.user_id)
    known = yield from every(IN_CATALOG, name=name)
    whole = any(index.name == name and index.valid for index in known)
    if present is None:
        raise missing(collection.user_id, collection.id)
    if whole and present.index_kind is kind and not anew:
        return
    yield from _unmarked(collection.id)
    yield from one(setting(local=False), name="maintenance_work_mem", value=f"{memory_mib}MB")
    yield from count(make)
    yield from count(_MARK, collection_id=collection.id, index_kind=kind)


def _unmarked(collection: int) -> Script[None]:
    """Within a script: see that no search relies on a collection's index, and drop it, whole or half made."""
    yield from count(_MARK, collection_id=collection, index_kind=None)
    yield from count(Plan[None](drop_index(collection), name="indexes.drop"))


def _drop(collection: int) -> Script[bool]:
    yield from _alone(collection)
    name = index_name(collection)
    known = yield from every(IN_CATALOG, name=name)
    yield from _unmarked(collection)
    return any(index.name == name for index in known)


def _tidy() -> Script[int]:
    known = yield from every(IN_CATALOG, name=OF_COLLECTION)
    there: set[int] = {*(yield from every(_COLLECTIONS))}
    # Others make names of ours too: REINDEX CONCURRENTLY puts something behind them.
    numbers = [rest for index in known if (rest := index.name.removeprefix(OF_COLLECTION)).isdecimal()]
    gone = [number for number in map(int, numbers) if number not in there]
    for number in gone:
        yield from _alone(number)
        yield from count(Plan[None](drop_index(number), name="indexes.tidy"))
    return len(gone)
