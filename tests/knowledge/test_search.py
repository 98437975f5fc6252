"""Searches of collections: the nearest, in one order on both databases, by every distance and every filter."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdb.config import Settings
from agentdb.database import Database
from agentdb.engine.vectors import matrices
from agentdb.errors import BadInput
from agentdb.knowledge.models import Vector, VectorCollection
from agentdb.knowledge.records import Match
from agentdb.testing.factories import make_conversation, make_user


async def make_collection(db: Database, dimension: int = 2, **details: Any) -> VectorCollection:
    user = await make_user(db)
    return await db.knowledge.collections.create(user.id, "notes", dimension, **details)


async def fill(db: Database, collection: VectorCollection, *embeddings: Any, **details: Any) -> list[int]:
    rows = [{"embedding": embedding, **details} for embedding in embeddings]
    await db.knowledge.vectors.pour(collection.user_id, collection.id, rows)
    return [row.id for row in (await db.knowledge.vectors.page(limit=1_000, collection_id=collection.id)).items]


async def search(db: Database, collection: VectorCollection, vector: Any, **asked: Any) -> list[Match]:
    return await db.knowledge.vectors.search(collection.user_id, collection.id, vector, **asked)


def ids(matches: list[Match]) -> list[int]:
    return [match.row.id for match in matches]


async def test_the_nearest_ten_come_first_and_equally_near_ones_by_id(db: Database) -> None:
    notes = await make_collection(db)
    rows = await fill(db, notes, [0, 1], [2, 2], [1, 0], [1, 1], *[[1, -1]] * 12, [3, 3])

    found = await search(db, notes, [1, 1])

    assert ids(found) == [rows[1], rows[3], rows[16], rows[0], rows[2], *rows[4:9]]
    assert [match.score for match in found] == [1, 1, 1, 0.7071068, 0.7071068, 0, 0, 0, 0, 0]
    assert found[3].distance == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


ORDERS = {
    "cosine": ([1, 3, 0, 2, 4], [1, 1, 0.8, 0, -1]),
    "l2": ([1, 2, 4, 0, 3], [1, 0.4142136, 0.3333333, 0.1907436, 0.1111111]),
    "inner_product": ([3, 0, 1, 2, 4], [9, 4, 1, 0, -1]),
}


async def test_each_distance_has_its_order(db: Database, subtests: pytest.Subtests) -> None:
    for distance, (order, scores) in ORDERS.items():
        with subtests.test(distance=distance):
            notes = await make_collection(db, distance=distance)
            rows = await fill(db, notes, [4, 3], [1, 0], [0, 1], [9, 0], [-1, 0])

            found = await search(db, notes, [1, 0])

            assert ids(found) == [rows[place] for place in order]
            assert [match.score for match in found] == scores


async def test_a_vector_of_zeros_scores_0_and_never_raises(db: Database) -> None:
    notes = await make_collection(db)
    zero, east, west = await fill(db, notes, [0, 0], [1, 0], [-1, 0])

    by_east, by_zero = await search(db, notes, [1, 0]), await search(db, notes, [0, 0])

    assert [(match.row.id, match.score) for match in by_east] == [(east, 1), (zero, 0), (west, -1)]
    assert [(match.row.id, match.score) for match in by_zero] == [(zero, 0), (east, 0), (west, 0)]


async def test_a_vector_of_zeros_comes_before_all_that_point_away(db: Database) -> None:
    notes = await make_collection(db)
    rows = await fill(db, notes, *[[-1, number] for number in range(40)], [0, 0], [1, 0])

    assert ids(await search(db, notes, [1, 0], limit=2)) == [rows[41], rows[40]]


async def test_a_threshold_is_strictly_above_and_0_is_honoured(db: Database) -> None:
    notes = await make_collection(db)
    rows = await fill(db, notes, [4, 3], [1, 0], [0, 1], [-1, 0])

    assert ids(await search(db, notes, [1, 0], threshold=0.8)) == [rows[1]]
    assert ids(await search(db, notes, [1, 0], threshold=0.79)) == [rows[1], rows[0]]
    assert ids(await search(db, notes, [1, 0], threshold=0)) == [rows[1], rows[0]]
    assert len(await search(db, notes, [1, 0], threshold=-1.1)) == len(await search(db, notes, [1, 0])) == 4
    with pytest.raises(BadInput, match="threshold"):
        await search(db, notes, [1, 0], threshold=float("nan"))
    with pytest.raises(BadInput, match="limit"):
        await search(db, notes, [1, 0], limit=0)


async def test_rows_without_an_embedding_and_of_other_collections_are_passed_over(db: Database) -> None:
    notes, other = await make_collection(db), await make_collection(db, 3)
    assert await search(db, notes, [1, 0]) == []
    assert await search(db, notes, [1, 0], tags=["a"]) == []
    (row,) = await fill(db, notes, [1, 0])
    await fill(db, other, [1, 0, 0])
    async with db.write() as unit:
        unit.session.add(Vector(collection_id=notes.id, content="waits"))

    assert ids(await search(db, notes, [1, 0])) == [row]


async def test_filters_narrow_by_tags_metadata_and_what_a_vector_is_a_piece_of(db: Database) -> None:
    notes = await make_collection(db)
    conversation = await make_conversation(db)
    vectors, owner = db.knowledge.vectors, notes.user_id
    plain = await vectors.put(owner, notes.id, "plain", [1, 0])
    tagged = await vectors.put(owner, notes.id, "tagged", [1, 1], tags=["a", "b"], metadata={"page": 3, "draft": True})
    piece = await vectors.put(owner, notes.id, "piece", [0, 1], tags=["a"], conversation_id=conversation.id)

    async def found(**asked: Any) -> list[int]:
        return ids(await search(db, notes, [1, 0], **asked))

    assert await found() == [plain.id, tagged.id, piece.id]
    assert await found(tags=["a"]) == [tagged.id, piece.id]
    assert await found(tags=["b", "a"]) == [tagged.id]
    assert await found(tags=["zz"]) == []
    assert await found(metadata={"page": 3}) == [tagged.id]
    assert await found(metadata={"page": 3.0, "draft": True}) == [tagged.id]
    assert await found(metadata={"draft": 1}) == []
    assert await found(metadata={"page": "3"}) == []
    assert await found(metadata={"other": None}) == []
    assert await found(conversation_id=conversation.id) == [piece.id]
    assert await found(conversation_id=conversation.id, tags=["b"]) == []
    with pytest.raises(BadInput, match="metadata"):
        await found(metadata={"page": [1]})


async def test_a_selective_filter_finds_all_that_there_are(db: Database) -> None:
    notes = await make_collection(db, 8)
    generator = np.random.default_rng(3)
    await fill(db, notes, *generator.standard_normal((600, 8)))
    rare = generator.standard_normal((6, 8))
    await fill(db, notes, *rare, tags=["rare"])

    found = await search(db, notes, generator.standard_normal(8), tags=["rare"])

    assert len(found) == 6


class _Undone(Exception):
    pass


async def test_a_search_in_a_unit_sees_what_the_unit_has_done_and_nobody_else_does(db: Database) -> None:
    notes = await make_collection(db)
    before = await fill(db, notes, *[[1, number] for number in range(1, 41)])
    assert ids(await search(db, notes, [1, 0], limit=40)) == before

    with suppress(_Undone):
        async with db.write() as unit:
            added = await unit.knowledge.vectors.put(notes.user_id, notes.id, "new", [1, 0])
            own = await unit.knowledge.vectors.search(notes.user_id, notes.id, [1, 0], limit=2)
            assert ids(own) == [added.id, before[0]]
            others = await asyncio.create_task(search(db, notes, [1, 0], limit=2))
            assert ids(others) == before[:2]
            raise _Undone

    # Another row takes the id of the one that was undone.
    again = await db.knowledge.vectors.put(notes.user_id, notes.id, "other", [-1, 0])
    assert ids(await search(db, notes, [-1, 0], limit=1)) == [again.id]


async def test_two_databases_over_one_file_see_each_others_changes(migrated_sqlite_url: str) -> None:
    async with Database(_settings(migrated_sqlite_url)) as one, Database(_settings(migrated_sqlite_url)) as two:
        notes = await make_collection(one)
        for number in range(1, 4):
            writer, reader = (one, two) if number % 2 else (two, one)
            await writer.knowledge.vectors.put(notes.user_id, notes.id, f"{number}", [number, 1])
            assert len(await search(reader, notes, [1, 0])) == number
        await two.knowledge.vectors.put(notes.user_id, notes.id, "1", [1, 0])
        assert (await search(one, notes, [1, 0]))[0].row.external_id == "1"
        await one.knowledge.vectors.discard(notes.user_id, notes.id, external_ids=["1"])
        assert [match.row.external_id for match in await search(two, notes, [1, 0])] == ["3", "2"]


async def test_a_collection_too_large_to_keep_is_searched_all_the_same(
    migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrices, "READ_AT_ONCE", 50)
    monkeypatch.setattr(matrices.Matrices.__init__, "__defaults__", (1_000,))
    async with Database(_settings(migrated_sqlite_url)) as db:
        notes = await make_collection(db, 4)
        generator = np.random.default_rng(5)
        stored = generator.standard_normal((300, 4))
        rows = await fill(db, notes, *stored)
        cosines = stored @ [1, 0, 0, 0] / np.linalg.norm(stored, axis=1)

        assert ids(await search(db, notes, [1, 0, 0, 0])) == [rows[place] for place in np.argsort(-cosines)[:10]]


async def test_a_snapshot_is_searched_as_it_was(db: Database) -> None:
    notes = await make_collection(db)
    before = await fill(db, notes, [1, 1], [1, 2])

    async with db.read() as unit:
        first = await unit.knowledge.vectors.search(notes.user_id, notes.id, [1, 0])
        await asyncio.create_task(_change(db, notes))
        assert ids(await unit.knowledge.vectors.search(notes.user_id, notes.id, [1, 0])) == ids(first) == before

    assert len(await search(db, notes, [1, 0])) == 3


async def _change(db: Database, notes: VectorCollection) -> None:
    await db.knowledge.vectors.put(notes.user_id, notes.id, "new", [1, 0])
    assert len(await search(db, notes, [1, 0])) == 3


async def test_many_searches_at_once_are_answered_each_its_own(db: Database) -> None:
    notes = await make_collection(db, 32)
    await fill(db, notes, *np.random.default_rng(1).standard_normal((500, 32)))

    answers = await asyncio.gather(*(search(db, notes, np.eye(32)[place % 32]) for place in range(40)))

    for place, answer in enumerate(answers):
        assert ids(answer) == ids(answers[place % 32])


def _settings(url: str) -> Any:
    return Settings.load(url)


NUMBER = st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0, 0.1, -0.3, 3.0, 1e-6, 1e6])
EMBEDDING = st.lists(NUMBER, min_size=3, max_size=3)
NAME = st.sampled_from("abcdefgh")
TAGS = st.lists(st.sampled_from(["x", "y"]), max_size=2)
CALL = st.one_of(
    st.tuples(st.just("pour"), st.lists(st.tuples(EMBEDDING, TAGS), min_size=1, max_size=6)),
    st.tuples(st.just("put"), NAME, EMBEDDING, TAGS),
    st.tuples(st.just("discard"), NAME),
    st.tuples(st.just("search"), EMBEDDING, st.integers(1, 12), TAGS, st.sampled_from([None, 0, 0.7, -0.5])),
)


async def _replay(db: Database, distance: str, calls: list[Any]) -> list[Any]:
    """Return what each call answers: rows by when they came, since ids go on."""
    notes = await make_collection(db, 3, distance=distance)
    vectors, owner = db.knowledge.vectors, notes.user_id
    answers: list[Any] = []
    for kind, *given_ in calls:
        if kind == "pour":
            rows = [{"embedding": embedding, "tags": tags} for embedding, tags in given_[0]]
            answers.append(await vectors.pour(owner, notes.id, rows))
        elif kind == "put":
            name, embedding, tags = given_
            row = await vectors.put(owner, notes.id, name, embedding, tags=tags)
            answers.append((row.external_id, row.tags))
        elif kind == "discard":
            answers.append(await vectors.discard(owner, notes.id, external_ids=given_))
        else:
            embedding, limit, tags, threshold = given_
            found = await vectors.search(owner, notes.id, embedding, limit=limit, tags=tags, threshold=threshold)
            answers.append(
                [(match.row.external_id, match.row.embedding.tolist(), match.score, match.distance) for match in found]  # type: ignore[union-attr]
            )
            order = [(-match.score if distance != "l2" else match.distance, match.row.id) for match in found]
            assert order == sorted(order)
    return answers


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(distance=st.sampled_from(["cosine", "l2", "inner_product"]), calls=st.lists(CALL, min_size=4, max_size=14))
async def test_both_databases_give_the_same_answers_to_the_same_calls(
    agentdb: Database, agentdb_postgresql: Database, distance: str, calls: list[Any]
) -> None:
    assert await _replay(agentdb, distance, calls) == await _replay(agentdb_postgresql, distance, calls)
