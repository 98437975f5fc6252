"""Searches of collections: what belongs to a deleted conversation is not found, and nothing else is lost by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.testing.factories import make_conversation, make_user


async def contents(db: Database, user: int, collection: int, **asked: object) -> list[str]:
    found = await db.knowledge.vectors.search(user, collection, [1, 0], **asked)  # type: ignore[arg-type]
    return [match.row.content for match in found]


@pytest.mark.parametrize("indexed", [False, True])
async def test_pieces_of_a_deleted_conversation_are_not_found_until_it_is_restored(
    db: Database, *, indexed: bool
) -> None:
    user = (await make_user(db)).id
    gone, kept = [(await make_conversation(db, user_id=user)).id for _ in range(2)]
    note = await db.conversation.resources.attach("note", conversation_id=gone)
    collection = (await db.knowledge.collections.create(user, "c", 2)).id
    near = [{"embedding": [1, 0.001 * place], "content": f"hidden {place}"} for place in range(30)]
    rows = [
        {**row, "conversation_id": gone} if place % 2 else {**row, "resource_id": note.id}
        for place, row in enumerate(near)
    ]
    rows += [{"embedding": [1, 1 + place], "content": f"shown {place}", "conversation_id": kept} for place in range(12)]
    rows[0]["external_id"] = "mine"
    await db.knowledge.vectors.pour(user, collection, rows)
    if indexed:
        await db.knowledge.indexes.build(user, collection)

    before = await contents(db, user, collection)
    await db.conversation.conversations.delete(gone)

    assert before == [f"hidden {place}" for place in range(10)]
    assert await contents(db, user, collection) == [f"shown {place}" for place in range(10)]
    assert len(await contents(db, user, collection, limit=50)) == 12
    assert await contents(db, user, collection, conversation_id=gone) == []
    assert await contents(db, user, collection, resource_id=note.id) == []
    assert await db.knowledge.vectors.named(user, collection, ["mine"]) == []
    await db.conversation.conversations.restore(gone)
    assert await contents(db, user, collection) == before
    assert len(await db.knowledge.vectors.named(user, collection, ["mine"])) == 1


async def test_pieces_of_a_deleted_conversation_are_not_read_by_their_columns(db: Database) -> None:
    user, stranger = (await make_user(db)).id, (await make_user(db)).id
    gone = (await make_conversation(db, user_id=user)).id
    note = await db.conversation.resources.attach("note", conversation_id=gone)
    collection, vectors = (await db.knowledge.collections.create(user, "c", 2)).id, db.knowledge.vectors
    said = await vectors.put(user, collection, "said", [1, 0], conversation_id=gone)
    noted = await vectors.put(user, collection, "noted", [1, 0], resource_id=note.id)
    kept = await vectors.put(user, collection, "kept", [1, 0])
    assert await vectors.count() == 3

    await db.conversation.conversations.delete(gone)

    assert [await vectors.find(row.id) for row in (said, noted)] == [None, None]
    assert [row.id for row in (await vectors.page()).items] == [row.id async for row in vectors.stream()] == [kept.id]
    assert (await vectors.count(), await vectors.exists(external_id="said")) == (1, False)
    assert (await vectors.get(kept.id, user_id=user)).id == kept.id
    assert await vectors.find(kept.id, user_id=stranger) is None
    await db.conversation.conversations.restore(gone)
    assert (await vectors.get(said.id)).external_id == "said"


async def test_vectors_without_an_embedding_are_passed_by(db: Database) -> None:
    user = (await make_user(db)).id
    collection = (await db.knowledge.collections.create(user, "c", 2)).id
    await db.knowledge.vectors.pour(user, collection, [{"embedding": [1, 0], "content": "there"}])
    async with db.sessions() as session:
        await session.execute(
            text(
                "INSERT INTO vectors (collection_id, created_at, updated_at)"
                " SELECT id, created_at, updated_at FROM vector_collections"
            )
        )
        await session.commit()
    await db.knowledge.indexes.build(user, collection)

    assert await contents(db, user, collection) == ["there"]
    assert await contents(db, user, collection, limit=1) == ["there"]
    assert (await db.knowledge.indexes.recall(user, collection)).recall == 1.0


async def test_a_row_that_is_no_object_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user = (await make_user(db)).id
    collection = (await db.knowledge.collections.create(user, "c", 2)).id

    some: tuple[Any, ...] = (5, None, "text", [1, 0])
    for row in some:
        with subtests.test(row=row), pytest.raises(BadInput, match="row 1: a vector is given as an object"):
            await db.knowledge.vectors.pour(user, collection, [{"embedding": np.zeros(2)}, row])
