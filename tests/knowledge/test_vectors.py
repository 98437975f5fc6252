"""Vectors: stored in bulk or by name, and what is stored comes back."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from agentdb.database import Database
from agentdb.engine.vectors.ranking import Distance, comparable, keys
from agentdb.errors import BadInput, Conflict, MissingReference
from agentdb.knowledge.models import VectorCollection
from agentdb.testing.factories import make_conversation, make_user


async def make_collection(db: Database, dimension: int = 2, **details: str) -> VectorCollection:
    user = await make_user(db)
    return await db.knowledge.collections.create(user.id, "notes", dimension, **details)


async def test_what_is_poured_comes_back_as_it_was(db: Database) -> None:
    notes = await make_collection(db, 3)
    conversation = await make_conversation(db)
    rows: list[dict[str, object]] = [
        {"embedding": [1.5, -2.25, 0.1], "content": "one", "tags": ["a", "b"], "metadata": {"page": 1}},
        {"embedding": np.array([1, 2, 3]), "external_id": "x", "order": 7, "conversation_id": conversation.id},
    ]

    assert await db.knowledge.vectors.pour(notes.user_id, notes.id, rows) == 2

    one, two = (await db.knowledge.vectors.page(collection_id=notes.id)).items
    assert one.embedding is not None
    assert np.array_equal(one.embedding, np.array([1.5, -2.25, 0.1], dtype=np.float32))
    assert (one.content, one.tags, one.metadata_) == ("one", ["a", "b"], {"page": 1})
    assert (two.external_id, two.order, two.conversation_id, two.tags) == ("x", 7, conversation.id, [])


async def test_vectors_are_poured_all_or_none(db: Database) -> None:
    notes = await make_collection(db)
    await db.knowledge.vectors.put(notes.user_id, notes.id, "there", [1, 0])

    with pytest.raises(Conflict, match="external_id"):
        await db.knowledge.vectors.pour(
            notes.user_id, notes.id, [{"embedding": [0, 1]}, {"embedding": [0, 1], "external_id": "there"}]
        )
    with pytest.raises(MissingReference):
        await db.knowledge.vectors.pour(notes.user_id, notes.id, [{"embedding": [0, 1], "conversation_id": 99}])
    assert await db.knowledge.vectors.count() == 1


NO_VECTORS: tuple[tuple[dict[str, object], str], ...] = (
    ({}, "row 0 has no embedding"),
    ({"embedding": "ab"}, "row 0: the embedding"),
    ({"embedding": [[1, 2]]}, "2 numbers were expected, not shape"),
    ({"embedding": [1, 2], "collection_id": 5}, "a vector has no collection_id"),
    ({"embedding": [1, 2], "tags": "a"}, "tags: a list"),
    ({"embedding": [1, 2], "tags": [1]}, "a tag is a text"),
)


async def test_a_row_that_is_no_vector_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    notes = await make_collection(db)

    for row, message in NO_VECTORS:
        with subtests.test(message), pytest.raises(BadInput, match=message):
            await db.knowledge.vectors.pour(notes.user_id, notes.id, [row])


async def test_a_vector_that_is_put_again_is_the_same_row_and_keeps_what_is_not_said(db: Database) -> None:
    notes = await make_collection(db)
    vectors = db.knowledge.vectors
    first = await vectors.put(notes.user_id, notes.id, "a", [1, 0], content="text", tags=["old"])

    again = await vectors.put(notes.user_id, notes.id, "a", [0, 1], tags=["new"])

    assert again.id == first.id
    assert (again.content, again.tags, again.embedding.tolist()) == ("text", ["new"], [0, 1])  # type: ignore[union-attr]
    assert (await vectors.search(notes.user_id, notes.id, [0, 1]))[0].score == 1


async def test_many_are_put_or_none(db: Database) -> None:
    notes = await make_collection(db)
    vectors = db.knowledge.vectors
    await vectors.put(notes.user_id, notes.id, "b", [1, 0])
    rows = [{"external_id": name, "embedding": [n, 1]} for n, name in enumerate("cab")]

    assert await vectors.put_many(notes.user_id, notes.id, rows) == 3
    assert await vectors.count() == 3
    with pytest.raises(BadInput, match="row 1 has no external_id"):
        await vectors.put_many(
            notes.user_id, notes.id, [{"external_id": "d", "embedding": [1, 1]}, {"embedding": [1, 1]}]
        )
    with pytest.raises(MissingReference):
        await vectors.put_many(
            notes.user_id,
            notes.id,
            [
                {"external_id": "d", "embedding": [1, 1]},
                {"external_id": "e", "embedding": [1, 1], "conversation_id": 99},
            ],
        )
    assert await vectors.count() == 3


async def test_two_who_put_the_same_names_in_other_orders_do_not_lock_each_other_out(db: Database) -> None:
    notes = await make_collection(db)
    names = [f"{n:02}" for n in range(20)]

    def rows(given: list[str], number: int) -> list[dict[str, object]]:
        return [{"external_id": name, "embedding": [number, 1]} for name in given]

    calls = [
        db.knowledge.vectors.put_many(notes.user_id, notes.id, rows(names if n % 2 else names[::-1], n))
        for n in range(6)
    ]

    assert await asyncio.gather(*calls) == [20] * 6
    stored = await db.knowledge.vectors.named(notes.user_id, notes.id, names)
    assert len(stored) == 20
    assert len({row.embedding[0] for row in stored}) == 1  # type: ignore[index]  # one call's, whole


async def test_vectors_are_discarded_by_id_and_by_name(db: Database) -> None:
    notes, other = await make_collection(db), await make_collection(db)
    vectors = db.knowledge.vectors
    rows = [await vectors.put(notes.user_id, notes.id, name, [1, 1]) for name in "abc"]
    foreign = await vectors.put(other.user_id, other.id, "a", [1, 1])

    assert await vectors.discard(notes.user_id, notes.id, ids=[rows[0].id, foreign.id, 999]) == 1
    assert await vectors.discard(notes.user_id, notes.id, external_ids=["b", "zz"]) == 1

    assert [row.external_id for row in await vectors.named(notes.user_id, notes.id, ["a", "b", "c"])] == ["c"]
    assert await vectors.exists(id=foreign.id)


async def test_generic_writes_are_refused_since_they_ask_for_no_owner(db: Database) -> None:
    notes = await make_collection(db)

    with pytest.raises(BadInput, match="Vectors has methods"):
        await db.knowledge.vectors.add(collection_id=notes.id, embedding=[1, 0])
    with pytest.raises(BadInput, match="Vectors has methods"):
        await db.knowledge.vectors.add_many([{"collection_id": notes.id, "embedding": [1, 0]}])


def test_keys_of_a_row_do_not_depend_on_the_rows_beside_it() -> None:
    generator = np.random.default_rng(7)
    rows = generator.standard_normal((1_500, 77)).astype(np.float32)
    query = generator.standard_normal(77).astype(np.float32)

    for distance in Distance:
        together = keys(rows, query, distance)
        alone = [keys(rows[place : place + 1], query, distance)[0] for place in range(0, 1_500, 97)]
        assert together[::97].tolist() == alone


@pytest.mark.parametrize("distance", Distance)
def test_multiples_and_mirror_images_are_told_as_equal(distance: Distance) -> None:
    query = comparable([0.1, 0.7, 0.2], 3)
    parallel = np.array([[0.3, 0.1, 0.9], [0.3, 0.1, 0.9]], dtype=np.float32) * (
        np.array([[1], [3]], dtype=np.float32) if distance is Distance.cosine else 1
    )

    first, second = keys(parallel, query, distance)

    assert first == second
