"""The queue of documents: each is embedded once, whoever works, fails, falls silent or is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.knowledge.embedding import Embedded, Embedder
from agentdb.knowledge.models import ProcessingStatus
from agentdb.knowledge.records import Chunk
from agentdb.testing.factories import make_user
from tests.knowledge.embedding_functions import by_lines, letters, refusing, short

VECTOR = [1.0] * 1536


async def make_documents(db: Database, *contents: str) -> list[int]:
    user = await make_user(db)
    return [(await db.knowledge.documents.create(user.id, "title", content)).id for content in contents]


async def test_documents_are_claimed_oldest_first_and_none_twice(db: Database) -> None:
    ids = await make_documents(db, *(f"text {number}" for number in range(20)))

    first = await db.knowledge.documents.claim("first", n=2)
    rest = await asyncio.gather(*(db.knowledge.documents.claim(f"worker {number}", n=3) for number in range(8)))

    assert [claim.id for claim in first] == ids[:2]
    assert sorted(claim.id for claims in rest for claim in claims) == ids[2:]
    assert {claim.attempt for claim in first} == {1}


async def test_a_run_embeds_all_that_waits_with_model_and_version(db: Database) -> None:
    ids = await make_documents(db, "one\ntwo\nthree", "alone", "")

    done = await Embedder(letters, "letters", "7", by_lines, texts_per_call=2).run(db.knowledge.documents, at_once=2)

    assert done == Embedded(completed=3, chunks=4)
    rows = [await db.knowledge.documents.document(id_) for id_ in ids]
    assert {row.processing_status for row in rows} == {ProcessingStatus.completed}
    assert {(row.embedding_model, row.embedding_version) for row in rows} == {("letters", "7")}
    assert [chunk.content for chunk in await db.knowledge.documents.chunks(ids[0])] == ["one", "two", "three"]
    user = rows[0].user_id
    (vector,) = await letters(["three"])
    nearest, alike = (await db.knowledge.documents.near(user, vector, limit=1))[0]
    assert nearest.content == "three"
    assert alike == pytest.approx(1.0)
    assert await Embedder(letters, "letters").run(db.knowledge.documents) == Embedded()


async def test_an_error_is_kept_and_tried_again_after_a_pause_until_the_attempts_are_used_up(db: Database) -> None:
    (id_,) = await make_documents(db, "please refuse")
    embedder = Embedder(refusing, "test", most_attempts=2)
    with clock.hold(clock.now()) as hand:
        first = await embedder.run(db.knowledge.documents)
        waiting = await db.knowledge.documents.document(id_)
        hand.forward(timedelta(minutes=20))
        last = await embedder.run(db.knowledge.documents)
        failed = await db.knowledge.documents.document(id_)

    assert first == Embedded(again=1)
    assert (waiting.processing_status, waiting.attempts) == (ProcessingStatus.pending, 1)
    assert waiting.available_at is not None
    assert last == Embedded(failed=1)
    assert (failed.processing_status, failed.error) == (ProcessingStatus.failed, "RuntimeError: the model said no")
    assert await db.knowledge.documents.claim("worker") == []

    await db.knowledge.documents.retry(id_)
    assert await Embedder(letters, "test").run(db.knowledge.documents) == Embedded(completed=1, chunks=1)
    assert (await db.knowledge.documents.document(id_)).error is None
    with pytest.raises(NotFound):
        await db.knowledge.documents.retry(id_)


async def test_one_bad_document_holds_up_no_other(db: Database) -> None:
    await make_documents(db, "one", "refuse me", "three")

    with clock.hold(clock.now()):  # or else its pause may be over while the others are still embedded
        done = await Embedder(refusing, "test").run(db.knowledge.documents, at_once=3)

    assert done == Embedded(completed=2, chunks=2, again=1)


async def test_a_function_that_gives_too_few_vectors_is_not_tried_again(db: Database) -> None:
    (id_,) = await make_documents(db, "text")

    assert await Embedder(short, "test").run(db.knowledge.documents) == Embedded(failed=1)
    assert "1 texts were to be embedded, and 0 vectors" in str((await db.knowledge.documents.document(id_)).error)


async def test_what_a_silent_worker_held_is_taken_over_when_its_lease_has_ended(db: Database) -> None:
    await make_documents(db, "text")
    with clock.hold(clock.now()) as hand:
        (silent,) = await db.knowledge.documents.claim("silent", lease_seconds=60)
        hand.forward(timedelta(seconds=59))
        early = await db.knowledge.documents.claim("other", lease_seconds=60)
        await db.knowledge.documents.heartbeat(silent, lease_seconds=60)
        hand.forward(timedelta(seconds=59))
        kept = await db.knowledge.documents.claim("other", lease_seconds=60)
        hand.forward(timedelta(seconds=1))
        (taken,) = await db.knowledge.documents.claim("other", lease_seconds=60)

    assert (early, kept) == ([], [])
    assert taken.attempt == 2
    for late in (
        db.knowledge.documents.complete(silent, [Chunk("text", VECTOR)], model="test"),
        db.knowledge.documents.heartbeat(silent),
        db.knowledge.documents.fail(silent, "late"),
        db.knowledge.documents.release(silent),
    ):
        with pytest.raises(StaleVersion):
            await late
    await db.knowledge.documents.complete(taken, [Chunk("text", VECTOR)], model="test")


async def test_a_document_that_silences_every_worker_fails_in_the_end(db: Database) -> None:
    (id_,) = await make_documents(db, "text")
    with clock.hold(clock.now()) as hand:
        for attempt in (1, 2, 3):
            (claim,) = await db.knowledge.documents.claim("worker")
            assert claim.attempt == attempt
            hand.forward(timedelta(hours=1))
        assert await db.knowledge.documents.claim("worker") == []

    row = await db.knowledge.documents.document(id_)
    assert (row.processing_status, row.claimed_by) == (ProcessingStatus.failed, None)
    assert "lease has ended" in str(row.error)


async def test_a_cancelled_run_gives_back_what_it_holds(db: Database) -> None:
    (id_,) = await make_documents(db, "text")
    begun = asyncio.Event()

    async def never(_texts: list[str]) -> list[list[float]]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(Embedder(never, "test").run(db.knowledge.documents))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    row = await db.knowledge.documents.document(id_)
    assert (row.processing_status, row.attempts, row.claimed_by) == (ProcessingStatus.pending, 0, None)


async def test_a_run_that_lost_its_claim_stores_nothing(db: Database) -> None:
    (id_,) = await make_documents(db, "old")

    async def revising(texts: list[str]) -> list[list[float]]:
        if texts == ["old"]:
            await db.knowledge.documents.revise(id_, content="new")
        return await letters(texts)

    done = await Embedder(revising, "test").run(db.knowledge.documents)

    assert done == Embedded(completed=1, chunks=1, lost=1)
    (vector,) = await letters(["new"])
    row = await db.knowledge.documents.document(id_)
    assert list(row.embedding) == vector  # type: ignore[arg-type]


async def test_another_model_or_version_embeds_again_and_until_then_the_old_is_found(db: Database) -> None:
    ids = await make_documents(db, "one\ntwo", "three")
    documents = db.knowledge.documents
    await Embedder(letters, "letters", "1", by_lines).run(documents)

    assert await documents.embed_again(model="letters", version="1") == 0
    assert await documents.embed_again(model="letters", version="2", batch=1) == 2
    assert len(await documents.chunks(ids[0])) == 2
    assert await Embedder(letters, "letters", "2", by_lines).run(documents) == Embedded(completed=2, chunks=3)
    assert {chunk.embedding_version for chunk in await documents.chunks(ids[0])} == {"2"}


async def test_a_lease_that_is_none_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    for seconds in (0, -1, float("nan"), float("inf")):
        with subtests.test(seconds=seconds), pytest.raises(BadInput, match="lease_seconds"):
            await agentdb.knowledge.documents.claim("worker", lease_seconds=seconds)


def worker(url: str, function: str, *more: str, **environment: str) -> subprocess.Popen[str]:
    """Start `agentdb embed` in a process of its own."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *(path for path in sys.path if path)])
    command = ["-m", "agentdb", "--url", url, "embed", f"tests.knowledge.embedding_functions:{function}"]
    return subprocess.Popen(
        [sys.executable, *command, "--model", "test", *more],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.long
async def test_two_processes_embed_each_document_once_though_a_third_is_killed(
    database_url: str, tmp_path: Path
) -> None:
    mark = tmp_path / "stuck"
    async with agentdb.connect(database_url) as db:
        ids = await make_documents(db, *(f"line {number}\nline again" for number in range(40)))
        killed = await asyncio.to_thread(worker, database_url, "stuck", "--at-once", "3", STUCK=str(mark))
        try:
            async with asyncio.timeout(60):
                while not mark.exists():  # noqa: ASYNC110 (another process makes it)
                    await asyncio.sleep(0.05)
        finally:
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
        held = await db.knowledge.documents.count(processing_status="processing")
        both = [
            worker(database_url, "letters", "--splitter", "tests.knowledge.embedding_functions:by_lines")
            for _ in range(2)
        ]
        told = [await asyncio.to_thread(process.communicate, None, 120) for process in both]
        assert [process.returncode for process in both] == [0, 0], told
        left = await db.knowledge.documents.count(processing_status="processing")
        with clock.hold(clock.now()) as hand:  # until the dead one's leases have ended
            hand.forward(timedelta(seconds=301))
            rest = await Embedder(letters, "test", split=by_lines).run(db.knowledge.documents)

        assert held == left == 3
        assert rest == Embedded(completed=3, chunks=6)
        assert sum(int(output.split()[0]) for output, _ in told) == 37
        chunks = [len(await db.knowledge.documents.chunks(id_)) for id_ in ids]
        assert chunks == [2] * 40
        assert [one.status.value for one in await db.knowledge.documents.statuses()] == ["completed"]
