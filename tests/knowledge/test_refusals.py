"""What cannot be known is refused in our own words, whatever it is, and alike on both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.errors import BadInput, SchemaMismatch, Unavailable
from agentdb.knowledge.embedding import Embedder
from agentdb.knowledge.models import ProcessingStatus
from agentdb.knowledge.records import Chunk, DocumentClaim
from agentdb.knowledge.splitting import split
from agentdb.testing.factories import make_user

LONG = 10**5_000  # Python spells no number of so many digits
HUGE = 10**400  # no float holds it


async def embed(texts: list[str]) -> list[list[float]]:
    return [[1.0] * 1536 for _ in texts]


async def test_whatever_a_caller_passes_is_refused_in_our_words(db: Database, subtests: pytest.Subtests) -> None:
    user, agent = (await make_user(db)).id, (await db.catalog.agents.create("helper")).id
    here = (await db.knowledge.collections.create(user, "notes", 2)).id
    document = (await db.knowledge.documents.create(user, "t", "c")).id
    vectors, memories, hybrid = db.knowledge.vectors, db.knowledge.memories, db.knowledge.hybrid
    documents, indexes = db.knowledge.documents, db.knowledge.indexes
    row: Any = {"external_id": "a", "embedding": [1, 2]}
    none: Any = None
    some: Any = 5
    odd: Any = {5: 1, LONG: 1}
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "no rows": lambda: vectors.pour(user, here, none),
        "a row alone": lambda: vectors.put_many(user, here, row),
        "names of several kinds": lambda: vectors.put_many(user, here, [row, {**row, "external_id": 5}]),
        "members of several kinds": lambda: vectors.pour(user, here, [{**row, "x": 1, **odd}]),
        "a member too long to tell": lambda: vectors.pour(user, here, [{**row, **odd}]),
        "metadata of a vector": lambda: vectors.put(user, here, "a", [1, 2], metadata=[1]),
        "no names to discard": lambda: vectors.discard(user, here, external_ids=some),
        "no names": lambda: vectors.named(user, here, none),
        "a threshold no float holds": lambda: vectors.search(user, here, [1, 2], threshold=HUGE),
        "an effort too long to tell": lambda: vectors.search(user, here, [1, 2], effort=-LONG),
        "an effort of a recall": lambda: indexes.recall(user, here, effort="x"),  # type: ignore[arg-type]
        "a number too long to tell": lambda: indexes.build(user, here, m=LONG),
        "a kind of index too long to tell": lambda: indexes.build(user, here, LONG),  # type: ignore[arg-type]
        "no kinds": lambda: memories.newest(agent, kinds=none),
        "kinds that are no texts": lambda: memories.search(agent, "x", kinds=[LONG]),  # type: ignore[list-item]
        "a tag too long to tell": lambda: memories.newest(agent, tags=[LONG]),  # type: ignore[list-item]
        "a lifetime too long to tell": lambda: memories.remember(agent, "x", ttl=LONG),  # type: ignore[arg-type]
        "metadata of a memory": lambda: memories.remember(agent, "x", metadata="x"),
        "provenance of a memory": lambda: memories.remember(agent, "x", provenance=[1]),
        "a ragged vector": lambda: memories.near(agent, [[1], [2, 3]]),
        "a vector of nothing": lambda: memories.near(agent, []),
        "a memory's threshold": lambda: memories.near(agent, [1], threshold=HUGE),
        "most to purge": lambda: memories.purge(most="1"),  # type: ignore[arg-type]
        "a passage's threshold": lambda: documents.near(user, [1.0] * 1536, threshold=-HUGE),
        "a ragged vector among lists": lambda: hybrid.search(
            user, vector=[[1], [2, 3]], agent_id=agent, sources=["memory"]
        ),
        "a weight no float holds": lambda: hybrid.search(user, "x", text_weight=HUGE),
        "a weight too long to tell": lambda: hybrid.search(user, "x", vector_weight=-LONG),
        "sources too long to tell": lambda: hybrid.search(user, "x", sources=[LONG]),  # type: ignore[list-item]
        "metadata of a document": lambda: documents.create(user, "t", "c", metadata=[1]),
        "metadata of a revision": lambda: documents.revise(document, metadata="x"),
        "a status that is none": lambda: documents.of_user(user, status=""),
        "a status too long to tell": lambda: documents.of_user(user, status=LONG),  # type: ignore[arg-type]
        "no claim to keep": lambda: documents.heartbeat(some),
        "no claim to complete": lambda: documents.complete(none, [], model="m"),
        "no claim to fail": lambda: documents.fail(some, "broken"),
        "no claim to release": lambda: documents.release(some),
    }

    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput):
            await call()
    assert await vectors.named(user, here, ["a"]) == []


async def claimed(db: Database) -> DocumentClaim:
    await db.knowledge.documents.create((await make_user(db)).id, "t", "green and black")
    (claim,) = await db.knowledge.documents.claim("worker")
    return claim


async def test_a_chunk_that_means_nothing_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    claim, good = await claimed(db), Chunk("green", [1.0] * 1536)
    documents = db.knowledge.documents

    some: Any = {
        "no vector": [Chunk("x", None)],
        "no vector among others": [good, Chunk("x", None)],
        "too long to compare": [Chunk("x", [1e30] * 1536)],
        "too short to compare": [good, Chunk("x", [1e-30] * 1536)],
        "no chunk": [good, "x"],
        "no list": 5,
    }
    for what, chunks in some.items():
        with subtests.test(what), pytest.raises(BadInput):
            await documents.complete(claim, chunks, model="m")
    assert (await documents.document(claim.id)).processing_status is ProcessingStatus.processing


async def test_an_error_is_told_in_a_text_and_a_flag_is_read_as_one(db: Database) -> None:
    claim, documents = await claimed(db), db.knowledge.documents
    odd: Any = float("nan")

    with pytest.raises(BadInput):
        await documents.fail(claim, odd)
    assert await documents.fail(claim, "broken", retry=odd) is ProcessingStatus.pending


async def test_a_document_without_a_vector_is_not_said_to_be_embedded(db: Database) -> None:
    documents = db.knowledge.documents
    document = await documents.create((await make_user(db)).id, "t", "green and black")

    async def silent(texts: list[str]) -> list[None]:
        return [None for _ in texts]

    done = await Embedder(silent, "m").run(documents)

    assert (done.completed, done.failed) == (0, 1)
    assert (await documents.document(document.id)).processing_status is ProcessingStatus.failed


async def test_what_is_wrong_with_the_embedder_is_no_documents_fault(db: Database, subtests: pytest.Subtests) -> None:
    documents = db.knowledge.documents
    document = await documents.create((await make_user(db)).id, "t", "green and black")
    some: tuple[dict[str, Any], ...] = (
        {"model": ""},
        {"model": None},
        {"model": "m" * 256},
        {"version": 5},
        {"version": "v" * 256},
        {"texts_per_call": 0},
        {"texts_per_call": -1},
        {"texts_per_call": "1"},
        {"embed": None},
        {"split": None},
    )

    for given in some:
        with subtests.test(**given), pytest.raises(BadInput, match=next(iter(given))):
            await Embedder(**{"embed": embed, "model": "m", **given}).run(documents)
    with pytest.raises(BadInput, match="most"):
        await Embedder(embed, "m").run(documents, most="1")  # type: ignore[arg-type]
    left = await documents.document(document.id)
    assert (left.processing_status, left.attempts) == (ProcessingStatus.pending, 0)


async def test_a_database_that_does_not_answer_is_told_as_everywhere(db: Database) -> None:
    documents = db.knowledge.documents
    await documents.create((await make_user(db)).id, "t", "green and black")

    async def last(texts: list[str]) -> list[list[float]]:
        await db.close()
        return await embed(texts)

    with pytest.raises(Unavailable):
        await Embedder(last, "m").run(documents)


async def test_what_the_driver_said_stays_with_the_error(db: Database) -> None:
    documents = db.knowledge.documents
    await documents.create((await make_user(db)).id, "t", "green and black")

    async def last(texts: list[str]) -> list[list[float]]:
        async with db.write() as unit:
            await unit.session.execute(text("ALTER TABLE knowledge_base RENAME TO elsewhere"))
        return await embed(texts)

    with pytest.raises(SchemaMismatch) as refused:
        await Embedder(last, "m").run(documents)

    assert refused.value.__cause__ is not None


async def test_a_memory_that_cannot_be_compared_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    agent, memories = (await db.catalog.agents.create("helper")).id, db.knowledge.memories

    some: tuple[Any, ...] = ([1e30, 0], [1e-30, 0], [[1], [2, 3]], [], 5, [None])
    for vector in some:
        with subtests.test(vector=vector), pytest.raises(BadInput):
            await memories.remember(agent, "x", embedding=vector)
    assert (await memories.newest(agent)).items == []


@pytest.mark.parametrize("given", [{"text": 5}, {"text": None}, {"tokens": "x"}, {"tokens": 1.5}, {"overlap": "x"}])
def test_what_cannot_be_split_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        split(**{"text": "x", **given})


def test_a_text_that_is_no_unicode_is_split_all_the_same() -> None:
    assert split("\ud800 x") == ["\ud800 x"]
