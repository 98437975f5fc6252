"""Documents: added, found at once, revised, and deleted with their chunks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound, StaleVersion
from agentdb.knowledge.models import KnowledgeBase, ProcessingStatus
from agentdb.knowledge.records import Chunk, DocumentClaim
from agentdb.testing.factories import make_user

DIMENSION = 1536


def vector(first: float = 1.0) -> list[float]:
    return [first, *([0.5] * (DIMENSION - 1))]


def titles(rows: list[KnowledgeBase]) -> list[str]:
    return [row.title for row in rows]


async def processed(db: Database, *contents: str) -> DocumentClaim:
    """Claim the one document that waits, and complete it with these chunks."""
    (claim,) = await db.knowledge.documents.claim("worker")
    chunks = [Chunk(content, vector()) for content in contents]
    await db.knowledge.documents.complete(claim, chunks, model="test", version="1")
    return claim


async def test_a_document_waits_and_is_found_by_its_words_at_once(db: Database) -> None:
    user = await make_user(db)

    document = await db.knowledge.documents.create(user.id, "Tea", "How to brew it", tags=["drink"], source="book")

    assert document.processing_status is ProcessingStatus.pending
    assert (document.attempts, document.total_chunks, document.embedding) == (0, 1, None)
    assert titles(await db.knowledge.documents.search(user.id, "brew TEA")) == ["Tea"]


async def test_a_document_of_one_chunk_bears_its_embedding_itself(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "short")

    await processed(db, "short")

    row = await db.knowledge.documents.document(document.id)
    assert row.processing_status is ProcessingStatus.completed
    assert (row.embedding_model, row.embedding_version, row.total_chunks) == ("test", "1", 1)
    assert row.embedding is not None
    assert row.embedding.shape == (DIMENSION,)
    assert (row.claimed_by, row.lease_expires_at) == (None, None)
    assert await db.knowledge.documents.chunks(document.id) == []


async def test_a_long_document_is_found_by_its_chunks_in_place_of_itself(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green and black", tags=["drink"])

    await processed(db, "green", "black")

    chunks = await db.knowledge.documents.chunks(document.id)
    assert [(chunk.chunk_index, chunk.content, chunk.total_chunks) for chunk in chunks] == [
        (0, "green", 2),
        (1, "black", 2),
    ]
    assert all(chunk.embedding is not None and chunk.embedding_model == "test" for chunk in chunks)
    assert [row.id for row in await db.knowledge.documents.search(user.id, "tea black")] == [chunks[1].id]
    assert [row.id for row in await db.knowledge.documents.search(user.id, "tea", tags=["drink"])] == [
        chunks[1].id,
        chunks[0].id,
    ]
    assert [row.id for row in (await db.knowledge.documents.of_user(user.id)).items] == [document.id]


async def test_other_content_is_processed_again_and_the_old_chunks_are_gone_at_once(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green and black")
    await processed(db, "green", "black")

    revised = await db.knowledge.documents.revise(document.id, content="white and red")

    assert revised.processing_status is ProcessingStatus.pending
    assert revised.content_hash != document.content_hash
    assert await db.knowledge.documents.chunks(document.id) == []
    assert await db.knowledge.documents.search(user.id, "black") == []
    assert titles(await db.knowledge.documents.search(user.id, "white")) == ["Tea"]
    await processed(db, "white", "red")
    assert len(await db.knowledge.documents.chunks(document.id)) == 2


async def test_the_same_content_is_not_processed_again(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green and black")
    await processed(db, "green", "black")

    revised = await db.knowledge.documents.revise(
        document.id, title="All about leaves", content="green and black", tags=["plant"]
    )

    assert revised.processing_status is ProcessingStatus.completed
    assert titles(await db.knowledge.documents.chunks(document.id)) == ["All about leaves"] * 2
    assert len(await db.knowledge.documents.search(user.id, "leaves green", tags=["plant"])) == 1
    assert await db.knowledge.documents.claim("worker") == []


async def test_a_worker_cannot_complete_what_was_revised_meanwhile(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green")
    (old,) = await db.knowledge.documents.claim("worker")

    await db.knowledge.documents.revise(document.id, content="black")
    (new,) = await db.knowledge.documents.claim("worker")

    with pytest.raises(StaleVersion, match="does not hold"):
        await db.knowledge.documents.complete(old, [Chunk("green", vector())], model="test")
    await db.knowledge.documents.complete(new, [Chunk("black", vector())], model="test")


async def test_a_document_renamed_while_it_is_processed_has_chunks_of_its_new_name(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green and black")
    (claim,) = await db.knowledge.documents.claim("worker")
    await db.knowledge.documents.revise(document.id, title="Leaves")

    await db.knowledge.documents.complete(claim, [Chunk("green", vector()), Chunk("black", vector())], model="test")

    assert titles(await db.knowledge.documents.chunks(document.id)) == ["Leaves"] * 2


async def test_deleting_a_document_takes_its_chunks_and_their_words(db: Database) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green and black")
    await processed(db, "green", "black")

    assert await db.knowledge.documents.delete(document.id)
    assert await db.knowledge.documents.count() == 0
    assert await db.knowledge.documents.search(user.id, "tea", any_word=True) == []
    assert not await db.knowledge.documents.delete(document.id)


async def test_another_users_documents_are_not_there(db: Database) -> None:
    user, stranger = await make_user(db), await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green")
    documents = db.knowledge.documents

    assert await documents.search(stranger.id, "tea") == []
    assert await documents.search(stranger.id, "tea", any_word=True) == []
    assert (await documents.of_user(stranger.id)).items == []
    assert not await documents.delete(document.id, user_id=stranger.id)
    for call in (documents.document, documents.chunks):
        with pytest.raises(NotFound):
            await call(document.id, user_id=stranger.id)
    with pytest.raises(NotFound):
        await documents.revise(document.id, user_id=stranger.id, title="mine")
    assert (await documents.document(document.id, user_id=user.id)).title == "Tea"


async def test_a_users_documents_are_listed_newest_first_by_tag_and_status(db: Database) -> None:
    user = await make_user(db)
    for number in range(3):
        await db.knowledge.documents.create(user.id, f"{number}", "text", tags=["odd"] if number % 2 else ["even"])
    await processed(db, "text")
    documents = db.knowledge.documents

    first = await documents.of_user(user.id, limit=2)
    rest = await documents.of_user(user.id, limit=2, after=first.next)

    assert titles(first.items) == ["2", "1"]
    assert titles(rest.items) == ["0"]
    assert titles((await documents.of_user(user.id, tags=["even"])).items) == ["2", "0"]
    assert titles((await documents.of_user(user.id, tags=["even"], status="completed")).items) == ["0"]
    assert [(one.status.value, one.documents) for one in await documents.statuses(user_id=user.id)] == [
        ("completed", 1),
        ("pending", 2),
    ]


async def test_an_embedding_of_another_length_is_refused_and_nothing_is_stored(
    db: Database, subtests: pytest.Subtests
) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green and black")
    (claim,) = await db.knowledge.documents.claim("worker")

    for length in (1535, 1537, 0):
        with subtests.test(length=length):
            chunks = [Chunk("green", vector()), Chunk("black", [1.0] * length)]
            with pytest.raises(BadInput, match="1536" if length else "vector"):
                await db.knowledge.documents.complete(claim, chunks, model="test")
            row = await db.knowledge.documents.document(document.id)
            assert row.processing_status is ProcessingStatus.processing
            assert await db.knowledge.documents.chunks(document.id) == []


async def test_revising_and_completing_at_once_never_leaves_chunks_of_what_it_said_before(db: Database) -> None:
    user = await make_user(db)
    for turn in range(10):
        document = await db.knowledge.documents.create(user.id, "Tea", f"old {turn}")
        (claim,) = await db.knowledge.documents.claim("worker")
        old = [Chunk("old one", vector()), Chunk("old two", vector())]

        await asyncio.gather(
            db.knowledge.documents.complete(claim, old, model="test"),
            db.knowledge.documents.revise(document.id, content="new"),
            return_exceptions=True,
        )

        assert await db.knowledge.documents.chunks(document.id) == []
        assert await db.knowledge.documents.search(user.id, "old") == []
        await db.knowledge.documents.delete(document.id)


async def test_what_the_queue_knows_is_not_the_callers_to_give(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)
    document = await db.knowledge.documents.create(user.id, "Tea", "green")

    some: tuple[dict[str, Any], ...] = (
        {"processing_status": "completed"},
        {"total_chunks": 7},
        {"content_hash": "x"},
        {"nonsense": 1},
    )
    for details in some:
        with subtests.test("created", **details), pytest.raises(BadInput):
            await db.knowledge.documents.create(user.id, "Tea", "green", **details)
        with subtests.test("revised", **details), pytest.raises(BadInput):
            await db.knowledge.documents.revise(document.id, **details)
    with pytest.raises(BadInput, match="revise"):
        await db.knowledge.documents.update(document.id, title="x")
    with pytest.raises(MissingReference):
        await db.knowledge.documents.create(user.id + 1, "Tea", "green")
