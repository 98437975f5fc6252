"""Indexes of collections: made while others write, made again after a crash, and true to what is there."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import numpy as np
import pytest
from sqlalchemy import text

from agentdb import migrating
from agentdb.database import Database
from agentdb.engine.dialects import POSTGRESQL
from agentdb.engine.vectors.indexing import IndexKind, index_name
from agentdb.engine.vectors.ranking import Distance
from agentdb.errors import BadInput, BadSettings, Contended
from agentdb.knowledge.models import VectorCollection
from agentdb.knowledge.records import CollectionIndex
from agentdb.knowledge.searching import Which, index_plan
from agentdb.testing.factories import make_user

Rows = np.ndarray[Any, np.dtype[np.float32]]


def hard(many: int, dimension: int, *, intrinsic: int = 48, seed: int = 11) -> Rows:
    """Return vectors without clusters, of which ``intrinsic`` numbers tell the rest."""
    generator = np.random.default_rng(seed)
    spread = np.random.default_rng(1).standard_normal((intrinsic, dimension))
    rows = generator.standard_normal((many, intrinsic)) @ spread
    rows /= np.linalg.norm(rows, axis=1)[:, np.newaxis]
    return rows.astype(np.float32)


async def make_collection(db: Database, rows: Rows, tags: Any = lambda place: [], **details: Any) -> VectorCollection:  # noqa: ARG005
    user = await make_user(db)
    collection = await db.knowledge.collections.create(user.id, "hard", rows.shape[1], **details)
    given = [{"embedding": row, "tags": tags(place)} for place, row in enumerate(rows)]
    await db.knowledge.vectors.pour(user.id, collection.id, given)
    async with db.sessions() as session:  # the planner's statistics
        await session.execute(text("ANALYZE"))
        await session.commit()
    return collection


async def build(db: Database, collection: VectorCollection, *kind: Any, **options: Any) -> CollectionIndex:
    return await db.knowledge.indexes.build(collection.user_id, collection.id, *kind, **options)


async def connected(db: Database) -> Any:
    return await asyncpg.connect(**db.settings.target.connect_arguments())


async def explained(db: Database, collection: VectorCollection, kind: IndexKind) -> str:
    """Return how the server finds rows by the collection's index."""
    plan = index_plan(collection.id, kind, Distance(collection.distance), collection.dimension, Which())
    values = {"vector": hard(1, collection.dimension, seed=5)[0], "count": 18}
    engine: Any = db._engine
    compiled = plan.on(POSTGRESQL)
    rows = await engine._fetch(engine._pool, f"EXPLAIN {compiled.text}", compiled.arguments(values, db.now()))
    return "\n".join(row[0] for row in rows)


@pytest.mark.long
@pytest.mark.parametrize("kind", IndexKind)
@pytest.mark.parametrize("distance", Distance)
async def test_an_index_of_each_kind_answers(agentdb_postgresql: Database, kind: IndexKind, distance: Distance) -> None:
    db = agentdb_postgresql
    rows = hard(2_000, 64)
    collection = await make_collection(db, rows, distance=distance)

    index = await build(db, collection, kind, lists=10)

    assert (index.kind, index.valid) == (kind, True)
    assert index.bytes > 0
    assert index_name(collection.id) in await explained(db, collection, kind)
    found = await db.knowledge.vectors.search(collection.user_id, collection.id, rows[7])
    assert np.array_equal(found[0].row.embedding, rows[7])  # type: ignore[arg-type]
    recall = await db.knowledge.indexes.recall(collection.user_id, collection.id, sample=20)
    assert recall.recall >= (0.8 if kind is IndexKind.hnsw_binary else 0.95)  # 64 signs tell little
    assert recall.queries == 20


async def test_sqlite_finds_all_and_needs_no_index(agentdb: Database) -> None:
    db = agentdb
    collection = await make_collection(db, hard(300, 16))

    index = await build(db, collection)

    assert index == CollectionIndex(None, valid=True, bytes=0)
    assert not await db.knowledge.indexes.drop(collection.user_id, collection.id)
    assert await db.knowledge.indexes.tidy() == 0
    recall = await db.knowledge.indexes.recall(collection.user_id, collection.id, sample=10)
    assert (recall.recall, recall.worst, recall.queries) == (1, 1, 10)


async def test_an_index_counts_as_no_drift_and_is_dropped(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    collection = await make_collection(db, hard(50, 8))
    await build(db, collection)

    assert not [found for found in await migrating.check(db.settings) if "vectors" in found.name]
    assert await db.knowledge.indexes.drop(collection.user_id, collection.id)

    assert await db.knowledge.indexes.state(collection.user_id, collection.id) == CollectionIndex(
        None, valid=True, bytes=0
    )
    assert not await db.knowledge.indexes.drop(collection.user_id, collection.id)
    assert len(await db.knowledge.vectors.search(collection.user_id, collection.id, hard(1, 8)[0])) == 10


async def test_long_vectors_are_indexed_in_halves_and_longer_ones_by_their_signs(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    long, longer = await make_collection(db, hard(60, 2_500)), await make_collection(db, hard(60, 4_100))

    assert (await build(db, long)).valid
    with pytest.raises(BadInput, match="up to 4,000 numbers, not 4,100; hnsw_binary"):
        await build(db, longer)
    assert (await build(db, longer, "hnsw_binary")).valid

    for collection in (long, longer):
        found = await db.knowledge.vectors.search(collection.user_id, collection.id, hard(60, collection.dimension)[3])
        assert found[0].score == 1
        assert len(found) == 10


async def test_zeros_and_fewer_than_the_limit_are_found_beside_an_index(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    rows = np.array([[1, 0], [0, 0], [-1, 0], [1, 1]], dtype=np.float32)
    collection = await make_collection(db, rows)
    await build(db, collection)

    async def scores(vector: list[float], **asked: Any) -> list[float]:
        found = await db.knowledge.vectors.search(collection.user_id, collection.id, vector, **asked)
        return [match.score for match in found]

    assert await scores([1, 0]) == [1, 0.7071068, 0, -1]
    assert await scores([1, 0], limit=3) == [1, 0.7071068, 0]
    assert await scores([0, 0]) == [0, 0, 0, 0]


async def test_a_vector_of_zeros_comes_before_all_that_point_away(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    away = np.abs(hard(1_500, 16))
    rows = np.concatenate([-away, np.zeros((1, 16), dtype=np.float32), away[:2]])
    collection = await make_collection(db, rows)
    await build(db, collection)

    assert index_name(collection.id) in await explained(db, collection, IndexKind.hnsw)
    found = await db.knowledge.vectors.search(collection.user_id, collection.id, np.ones(16), limit=4)
    assert [match.score > 0 for match in found] == [True, True, False, False]
    assert found[2].score == 0


async def test_a_filter_that_few_pass_finds_them_all_and_one_that_many_pass_goes_by_the_index(
    agentdb_postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = agentdb_postgresql
    rows = hard(2_000, 32)
    collection = await make_collection(db, rows, lambda place: ["rare"] if place % 100 == 0 else ["many"])
    await build(db, collection)
    cosines = rows @ rows[5]

    async def found(tag: str) -> list[float]:
        matches = await db.knowledge.vectors.search(collection.user_id, collection.id, rows[5], tags=[tag])
        assert {tuple(match.row.tags) for match in matches} == {(tag,)}
        return [match.score for match in matches]

    rare = [float(cosine) for cosine in sorted(cosines[::100], reverse=True)[:10]]
    assert await found("rare") == pytest.approx(rare, abs=1e-5)
    many = sorted(np.delete(cosines, np.s_[::100]), reverse=True)[:10]
    monkeypatch.setattr("agentdb.knowledge.searching.FEW", 500)
    near = await found("many")
    assert len(near) == 10
    assert len({round(score, 4) for score in near} & {round(float(cosine), 4) for cosine in many}) >= 9
    monkeypatch.setattr("agentdb.knowledge.searching.FEW", 1)
    assert await found("rare") == pytest.approx(rare, abs=1e-5)  # strict order, until as many as wanted are found


async def test_an_index_that_a_crash_left_half_made_is_made_again(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    collection = await make_collection(db, hard(200, 16))
    indexes, name = db.knowledge.indexes, index_name(collection.id)
    holder, killer = await connected(db), await connected(db)
    try:
        await holder.execute("BEGIN; UPDATE vectors SET content = 'held' WHERE id = (SELECT min(id) FROM vectors)")
        building = asyncio.create_task(build(db, collection))
        victim = None
        while victim is None:
            await asyncio.sleep(0.02)
            victim = await killer.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE $1 AND wait_event_type = 'Lock'",
                f"CREATE INDEX CONCURRENTLY {name} %",
            )
        with pytest.raises(Contended, match="somebody else is building"):
            await build(db, collection)
        await killer.execute("SELECT pg_terminate_backend($1)", victim)
        with pytest.raises(Exception):  # noqa: B017, PT011 (however the lost connection is told)
            await building
        await holder.execute("ROLLBACK")
    finally:
        await holder.close()
        await killer.close()
    assert not (await indexes.state(collection.user_id, collection.id)).valid
    assert len(await db.knowledge.vectors.search(collection.user_id, collection.id, hard(1, 16)[0])) == 10

    index = await build(db, collection)

    assert (index.kind, index.valid) == (IndexKind.hnsw, True)


@pytest.mark.long
async def test_building_goes_on_while_others_write(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    rows = hard(1_500, 64)
    collection = await make_collection(db, rows[:1_000])

    async def write() -> None:
        for row in rows[1_000:]:
            await db.knowledge.vectors.pour(collection.user_id, collection.id, [{"embedding": row}])

    await asyncio.gather(build(db, collection), write())

    found = await db.knowledge.vectors.search(collection.user_id, collection.id, rows[1_400])
    assert found[0].score == 1
    assert (await db.knowledge.indexes.recall(collection.user_id, collection.id, sample=20)).recall >= 0.95


async def test_a_whole_index_is_left_as_it_is_unless_another_is_wanted(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    collection = await make_collection(db, hard(100, 16))
    connection = await connected(db)

    async def built() -> int:
        oid: int = await connection.fetchval("SELECT to_regclass($1)::oid", index_name(collection.id))
        return oid

    try:
        await build(db, collection)
        first = await built()
        await build(db, collection)
        assert await built() == first
        await build(db, collection, anew=True)
        second = await built()
        assert second != first
        assert (await build(db, collection, "hnsw_binary")).kind is IndexKind.hnsw_binary
        assert await built() != second
    finally:
        await connection.close()


async def test_a_pgvector_that_is_too_old_for_an_index_is_told(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    collection = await make_collection(db, hard(10, 4))
    connection = await connected(db)
    await connection.execute("UPDATE pg_extension SET extversion = '0.8.3' WHERE extname = 'vector'")
    await connection.close()

    with pytest.raises(BadSettings, match=r"pgvector 0\.8\.3 is too old for an index, 0\.8\.4 .*ALTER EXTENSION"):
        await build(db, collection)


async def test_the_index_of_a_collection_that_is_gone_is_tidied_away(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    gone, stays = await make_collection(db, hard(10, 4)), await make_collection(db, hard(10, 4))
    for collection in (gone, stays):
        await build(db, collection)
    await db.knowledge.collections.delete(gone.user_id, gone.id)
    async with db.sessions() as session:  # as REINDEX CONCURRENTLY leaves one behind that was interrupted
        await session.execute(text(f"CREATE INDEX {index_name(gone.id)}_ccnew ON vectors (id)"))
        await session.commit()

    assert await db.knowledge.indexes.tidy() == 1
    assert await db.knowledge.indexes.tidy() == 0
    assert (await db.knowledge.indexes.state(stays.user_id, stays.id)).valid


async def test_an_index_is_not_built_inside_a_unit(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    collection = await make_collection(db, hard(10, 4))

    async with db.read() as unit:
        with pytest.raises(BadInput, match="after the unit"):
            await unit.knowledge.indexes.build(collection.user_id, collection.id)
        with pytest.raises(BadInput, match="inside an open read unit"):
            await db.knowledge.indexes.tidy()


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"kind": "flat"}, "there are hnsw, hnsw_binary, ivfflat"),
    ({"m": 1}, "m is a whole number from 2 to 100"),
    ({"m": 40}, "ef_construction is at least twice m"),
    ({"lists": 0}, "lists is a whole number"),
    ({"memory_mib": "1; DROP"}, "memory_mib is a whole number"),
)


async def test_what_no_index_can_be_built_with_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)
    collection = await db.knowledge.collections.create(user.id, "c", 3)

    for options, message in WRONG:
        with subtests.test(**options), pytest.raises(BadInput, match=message):
            await db.knowledge.indexes.build(user.id, collection.id, **options)


@pytest.mark.long
@pytest.mark.parametrize("kind", [IndexKind.hnsw, IndexKind.hnsw_binary])
async def test_of_20000_vectors_without_clusters_an_index_finds_98_percent(
    agentdb_postgresql: Database, kind: IndexKind
) -> None:
    db = agentdb_postgresql
    rows, queries = hard(20_000, 1536), hard(50, 1536, seed=12)
    collection = await make_collection(db, rows, lambda place: [f"tenant {place % 100}"])
    await build(db, collection, kind)

    async def recall(wanted: Rows, **asked: Any) -> float:
        """Return how many of the nearest ten are found, of vectors that are not stored."""
        met = 0
        for query in queries:
            nearest = np.sort(wanted @ query)[-10]
            found = await db.knowledge.vectors.search(collection.user_id, collection.id, query, **asked)
            met += sum(match.score >= nearest - 1e-5 for match in found)
        return met / (10 * len(queries))

    assert index_name(collection.id) in await explained(db, collection, kind)
    assert await recall(rows) >= (0.98 if kind is IndexKind.hnsw else 0.97)
    assert await recall(rows[7::100], tags=["tenant 7"]) >= 0.98


@pytest.mark.long
async def test_of_20000_vectors_sqlite_finds_all(agentdb: Database) -> None:
    db = agentdb
    rows, queries = hard(20_000, 1536), hard(20, 1536, seed=12)
    collection = await make_collection(db, rows, lambda place: [f"tenant {place % 100}"])

    for query in queries:
        for wanted, tags in ((rows, []), (rows[7::100], ["tenant 7"])):
            found = await db.knowledge.vectors.search(collection.user_id, collection.id, query, tags=tags)
            scores = [match.score for match in found]
            assert scores == pytest.approx(np.sort(wanted @ query)[:-11:-1].tolist(), abs=1e-5)
