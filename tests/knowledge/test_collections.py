"""Collections: one dimension and one distance each, and every vector in them fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.errors import AgentDBError, BadInput, Conflict, NotFound
from agentdb.knowledge.models import Vector
from agentdb.testing.factories import make_user


async def test_a_name_is_taken_once_by_each_user(db: Database) -> None:
    alice, bob = await make_user(db), await make_user(db)
    collections = db.knowledge.collections
    first = await collections.create(alice.id, "notes", 3)

    with pytest.raises(Conflict, match="notes"):
        await collections.create(alice.id, "notes", 3)
    assert (await collections.create(bob.id, "notes", 4)).id != first.id
    assert (await collections.by_name(bob.id, "notes")).dimension == 4


async def test_somebody_elses_collection_is_not_there(db: Database) -> None:
    alice, bob = await make_user(db), await make_user(db)
    notes = await db.knowledge.collections.create(alice.id, "notes", 2)
    await db.knowledge.vectors.put(alice.id, notes.id, "a", [1, 0])
    vectors = db.knowledge.vectors

    for call in (
        vectors.search(bob.id, notes.id, [1, 0]),
        vectors.pour(bob.id, notes.id, [{"embedding": [1, 0]}]),
        vectors.put(bob.id, notes.id, "a", [0, 1]),
        vectors.discard(bob.id, notes.id, external_ids=["a"]),
        vectors.named(bob.id, notes.id, ["a"]),
        db.knowledge.collections.rename(bob.id, notes.id, "mine"),
        db.knowledge.indexes.build(bob.id, notes.id),
        db.knowledge.indexes.recall(bob.id, notes.id),
    ):
        with pytest.raises(NotFound, match=f"user {bob.id} has no collection {notes.id}"):
            await call
    assert not await db.knowledge.collections.delete(bob.id, notes.id)
    assert [row.external_id for row in await vectors.named(alice.id, notes.id, ["a"])] == ["a"]


async def test_a_dimension_is_a_whole_number_from_1_to_16000(agentdb: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(agentdb)

    some: tuple[Any, ...] = (0, -1, 16_001, 1.5, True, "3")
    for dimension in some:
        with subtests.test(dimension=dimension), pytest.raises(BadInput, match="dimension"):
            await agentdb.knowledge.collections.create(user.id, "notes", dimension)


async def test_an_unknown_distance_is_refused_and_a_collections_own_never_changes(db: Database) -> None:
    user = await make_user(db)
    with pytest.raises(BadInput, match="manhattan"):
        await db.knowledge.collections.create(user.id, "notes", 3, distance="manhattan")
    notes = await db.knowledge.collections.create(user.id, "notes", 3)

    with pytest.raises(BadInput, match="Collections has methods"):
        await db.knowledge.collections.update(notes.id, dimension=4)
    assert (await db.knowledge.collections.rename(user.id, notes.id, "other")).dimension == 3


async def test_a_vector_of_another_length_is_refused_on_write_and_on_query(db: Database) -> None:
    user = await make_user(db)
    wide = await db.knowledge.collections.create(user.id, "wide", 1536)
    short = np.ones(1535)
    vectors = db.knowledge.vectors

    for call in (
        vectors.pour(user.id, wide.id, [{"embedding": np.ones(1536)}, {"embedding": short}]),
        vectors.put(user.id, wide.id, "a", short),
        vectors.search(user.id, wide.id, short),
    ):
        with pytest.raises(BadInput, match=r"1536 numbers were expected, not 1535"):
            await call
    assert await vectors.count(collection_id=wide.id) == 0


async def test_what_cannot_be_compared_is_refused_on_write_and_on_query(
    db: Database, subtests: pytest.Subtests
) -> None:
    user = await make_user(db)
    notes = await db.knowledge.collections.create(user.id, "notes", 2)

    for bad in (float("nan"), float("inf"), -float("inf"), 1e39, 1e20, 1e-30):
        with subtests.test(written=bad), pytest.raises(BadInput, match=r"finite|long"):
            await db.knowledge.vectors.pour(user.id, notes.id, [{"embedding": [bad, 0]}])
        with subtests.test(asked=bad), pytest.raises(BadInput, match=r"finite|long"):
            await db.knowledge.vectors.search(user.id, notes.id, [0, bad])


async def test_the_database_itself_refuses_another_length(db: Database) -> None:
    user = await make_user(db)
    notes = await db.knowledge.collections.create(user.id, "notes", 3)
    row = await db.knowledge.vectors.put(user.id, notes.id, "a", [1, 2, 3])

    with pytest.raises(AgentDBError, match="ck_vectors__embedding"):
        async with db.write() as unit:
            unit.session.add(Vector(collection_id=notes.id, embedding=[1.0, 2.0]))
    row.embedding = np.ones(4, dtype=np.float32)
    with pytest.raises(AgentDBError, match="ck_vectors__embedding"):
        async with db.write() as unit:
            unit.session.add(row)


async def test_deleting_a_collection_takes_its_vectors_along(db: Database) -> None:
    user = await make_user(db)
    notes = await db.knowledge.collections.create(user.id, "notes", 2)
    kept = await db.knowledge.collections.create(user.id, "kept", 2)
    for collection in (notes, kept):
        await db.knowledge.vectors.pour(user.id, collection.id, [{"embedding": [1, 0]}] * 3)

    assert await db.knowledge.collections.delete(user.id, notes.id)

    assert await db.knowledge.vectors.count() == 3
    assert [page.name for page in (await db.knowledge.collections.of_user(user.id)).items] == ["kept"]
    assert not await db.knowledge.collections.delete(user.id, notes.id)


async def test_rows_that_plain_sql_changes_are_searched_as_they_are(db: Database) -> None:
    user = await make_user(db)
    notes = await db.knowledge.collections.create(user.id, "notes", 2)
    other = await db.knowledge.collections.create(user.id, "other", 2)
    await db.knowledge.vectors.pour(
        user.id, notes.id, [{"embedding": [1, n], "external_id": str(n)} for n in range(1, 6)]
    )

    async def nearest() -> list[str | None]:
        found = await db.knowledge.vectors.search(user.id, notes.id, [1, 0])
        return [match.row.external_id for match in found]

    assert await nearest() == ["1", "2", "3", "4", "5"]
    async with db.write() as unit:
        await unit.session.execute(text("DELETE FROM vectors WHERE external_id = '2'"))
        assert [match.row.external_id for match in await unit.knowledge.vectors.search(user.id, notes.id, [1, 0])] == [
            "1",
            "3",
            "4",
            "5",
        ]
    assert await nearest() == ["1", "3", "4", "5"]
    async with db.sessions() as session:
        await session.execute(
            text("UPDATE vectors SET collection_id = :other WHERE external_id = '1'"), {"other": other.id}
        )
        await session.commit()
    assert await nearest() == ["3", "4", "5"]
    assert len(await db.knowledge.vectors.search(user.id, other.id, [1, 0])) == 1
