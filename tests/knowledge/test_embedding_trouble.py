"""Embedding what is in trouble: whatever a function does, its document bears it, and the others are embedded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, Unavailable
from agentdb.knowledge.documents import Documents
from agentdb.knowledge.embedding import Embedder
from agentdb.knowledge.records import DocumentClaim
from agentdb.testing.factories import make_user


async def test_whatever_a_function_raises_is_the_error_of_one_document(db: Database, subtests: pytest.Subtests) -> None:
    documents, user = db.knowledge.documents, await make_user(db)

    for trouble in (ValueError("\ud800 broken \0"), asyncio.CancelledError("by itself"), KeyError("é" * 9_000)):
        with subtests.test(trouble=type(trouble).__name__):
            broken = await documents.create(user.id, "broken", "broken")
            whole = await documents.create(user.id, "whole", "whole")

            async def embed(texts: list[str], trouble: BaseException = trouble) -> list[Any]:
                if texts == ["broken"]:
                    raise trouble
                return [[1.0] * 1536 for _ in texts]

            done = await Embedder(embed, "m", most_attempts=1).run(documents, at_once=2)

            assert (done.completed, done.failed, done.lost) == (1, 1, 0)
            assert (await documents.document(whole.id)).processing_status == "completed"
            failed = await documents.document(broken.id)
            assert failed.processing_status == "failed"
            assert failed.error is not None
            assert failed.error.startswith(type(trouble).__name__)
            assert len(failed.error) <= 2_000


class Faltering(Documents):
    """Documents on a database that does not answer the first heartbeat."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.beats = 0
        self.heard = asyncio.Event()

    async def heartbeat(self, claim: DocumentClaim, *, lease_seconds: float = 60.0) -> None:
        self.beats += 1
        if self.beats == 1:
            raise Unavailable("not now")
        await super().heartbeat(claim, lease_seconds=lease_seconds)
        self.heard.set()


async def test_a_heartbeat_that_is_not_heard_does_not_cost_an_attempt(db: Database) -> None:
    document = await db.knowledge.documents.create((await make_user(db)).id, "t", "c")
    documents = Faltering(db.knowledge.documents.connection)

    async def embed(texts: list[str]) -> list[Any]:
        await documents.heard.wait()
        return [[1.0] * 1536 for _ in texts]

    done = await Embedder(embed, "m", lease_seconds=0.03).run(documents)

    assert (done.completed, done.again) == (1, 0)
    assert (await db.knowledge.documents.document(document.id)).attempts == 1


async def test_a_claim_that_cannot_hold_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    documents = agentdb.knowledge.documents
    await documents.create((await make_user(agentdb)).id, "t", "c")

    some: tuple[dict[str, Any], ...] = (
        {"lease_seconds": "1"},
        {"lease_seconds": 1e300},
        {"lease_seconds": float("nan")},
        {"most_attempts": 0},
    )
    for asked in some:
        with subtests.test(**asked), pytest.raises(BadInput, match=next(iter(asked))):
            await documents.claim("w", **asked)
    assert len(await documents.claim("w")) == 1


async def test_a_content_is_not_changed_behind_the_queue(db: Database) -> None:
    documents, user = db.knowledge.documents, await make_user(db)
    document = await documents.create(user.id, "t", "old")

    with pytest.raises(BadInput, match="revise"):
        await documents.upsert(on=["uuid"], uuid=document.uuid, user_id=user.id, title="t", content="new")
    assert (await documents.document(document.id)).content == "old"
