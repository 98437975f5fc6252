"""The queue of documents that wait to be cut up and embedded: pending, processing, and completed or failed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agentdb.engine.asked import is_text, lasting, several, whole_number
from agentdb.engine.connection import Script, count, each, every, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.engine.vectors.ranking import comparable
from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.knowledge.models import KnowledgeBase, ProcessingStatus
from agentdb.knowledge.nearest import DIMENSION
from agentdb.knowledge.queueing import (
    CLAIM,
    COMPLETE,
    EMBED_AGAIN,
    FAIL,
    GIVEN_UP,
    HEARTBEAT,
    RELEASE,
    REMOVE_CHUNKS,
    RETRY,
)
from agentdb.knowledge.records import Chunk, DocumentClaim
from agentdb.repository import Repository, capped

LEASE_SECONDS: Final = 300.0
MOST_ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
LONGEST_ERROR: Final = 2_000
CHUNKS_PER_TURN: Final = 100  # of the event loop, while they are checked


class Processing(Repository[KnowledgeBase]):
    """Documents as workers see them."""

    model = KnowledgeBase

    async def claim(
        self,
        worker: str,
        *,
        n: int = 1,
        lease_seconds: float = LEASE_SECONDS,
        most_attempts: int = MOST_ATTEMPTS,
    ) -> list[DocumentClaim]:
        """Claim documents that wait, the oldest first; none is claimed twice.

        What a worker left behind, whose lease has ended, waits too, and has failed when its attempts are used up.

        Args:
            worker: who claims: a name of its own.
            n: how many at most.
            lease_seconds: how long the claims hold without a heartbeat.
            most_attempts: how often a document is tried.

        Raises: BadInput.
        Cost: one transaction of two statements, by ix_knowledge_base__waiting and ix_knowledge_base__leases.
        """
        now, limit = self.connection.now(), capped(n, self.most)
        until, most = now + lasting(lease_seconds, "lease_seconds"), _attempts(most_attempts)
        asked = {"worker": worker, "lease_until": until, "now": now, "limit": limit}
        rows = await self.connection.run(lambda: _claimed(asked, most))
        return [
            DocumentClaim(row.id, worker, row.attempts, row.content_hash, until, row)
            for row in sorted(rows, key=lambda row: row.id)
        ]

    async def heartbeat(self, claim: DocumentClaim, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """Extend a claim's lease from now on.

        Raises: StaleVersion when it does not hold any more: somebody else has the document, or it was revised.
        """
        await self._on(HEARTBEAT, claim, lease_until=self._now() + lasting(lease_seconds, "lease_seconds"))

    async def complete(
        self, claim: DocumentClaim, chunks: Sequence[Chunk], *, model: str, version: str | None = None
    ) -> None:
        """Store what a document was cut up into, and its embeddings, in place of what was there.

        A document of one chunk is its own: it bears the embedding, and has no rows of chunks.

        Args:
            claim: the document.
            chunks: in order; none for one that says nothing.
            model: what embedded them.
            version: of the model.

        Raises: StaleVersion as `heartbeat`, and nothing is stored; BadInput for an embedding of another length, or
            none.
        Cost: one transaction.
        """
        held, given = _held(claim), await _checked(chunks)
        now = self.connection.now()
        made = {"embedding_model": model, "embedding_version": version}
        if not await self.connection.run(lambda: _completed(held, given, made, now)):
            raise _stale(claim)

    async def fail(
        self, claim: DocumentClaim, error: str, *, retry: bool = True, most_attempts: int = MOST_ATTEMPTS
    ) -> ProcessingStatus:
        """Say that an attempt has failed, and return what becomes of the document: pending after a pause, or failed.

        Args:
            claim: the document.
            error: what happened; it is kept, its first 2,000 characters.
            retry: whether another attempt may help.
            most_attempts: how often it is tried.

        Raises: StaleVersion as `heartbeat`.
        """
        # "Full jitter" spreads those that failed together.
        longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(_held(claim)["attempt"] - 1, 30), LONGEST_PAUSE_SECONDS)
        pause = timedelta(seconds=random.random() * longest)  # noqa: S311 (nobody is kept out by it)
        failed = await self._on(
            FAIL,
            claim,
            error=_storable(error)[:LONGEST_ERROR],
            retry=int(bool(retry)),
            most_attempts=_attempts(most_attempts),
            available_at=self.connection.now() + pause,
        )
        return failed.processing_status

    async def release(self, claim: DocumentClaim) -> None:
        """Give a document back as if it had not been claimed.

        Raises: StaleVersion as `heartbeat`.
        """
        await self._on(RELEASE, claim)

    async def retry(self, document_id: int) -> None:
        """Let a failed document wait again, with all its attempts.

        Raises: NotFound when there is none that has failed.
        """
        asked = {"document_id": document_id, "now": self.connection.now()}
        if await self.connection.fetch_one(RETRY, asked) is None:
            raise NotFound(f"there is no failed document {document_id}")

    async def embed_again(self, *, model: str, version: str | None = None, batch: int = 500) -> int:
        """Let every completed document wait again that another model or version has embedded, and return how many.

        Until it is completed anew, it is found by what it has.

        Args:
            model: which model's embeddings stay.
            version: of which version.
            batch: how many are locked at once.

        Cost: one transaction for each batch.
        """
        asked: dict[str, Any] = {"embedding_model": model, "embedding_version": version, "limit": capped(batch, 10_000)}
        many, after = 0, 0
        while ids := await self.connection.fetch_all(EMBED_AGAIN, {**asked, "after": after, "now": self._now()}):
            many, after = many + len(ids), max(ids)
        return many

    def _now(self) -> datetime:
        return self.connection.now()

    async def _on(self, plan: Plan[KnowledgeBase], claim: DocumentClaim, **values: Any) -> KnowledgeBase:
        row: KnowledgeBase | None = await self.connection.fetch_one(
            plan, {**_held(claim), "now": self._now(), **values}
        )
        if row is None:
            raise _stale(claim)
        return row


def _claimed(asked: dict[str, Any], most_attempts: int) -> Script[list[KnowledgeBase]]:
    yield from count(GIVEN_UP, now=asked["now"], most_attempts=most_attempts)
    return (yield from every(CLAIM, **asked))


def _completed(held: dict[str, Any], chunks: list[Chunk], made: dict[str, Any], now: datetime) -> Script[bool]:
    embedding = chunks[0].embedding if len(chunks) == 1 else None
    total = max(1, len(chunks))
    document = yield from one(COMPLETE, **held, **made, now=now, total_chunks=total, embedding=embedding)
    if document is None:
        return False
    yield from count(REMOVE_CHUNKS, document_id=held["document_id"])
    if total == 1:
        return True
    common = {  # as the document is now: it may have been renamed meanwhile
        "user_id": document.user_id,
        "title": document.title,
        "content_type": document.content_type,
        "source": document.source,
        "tags": document.tags,
        "total_chunks": total,
        "parent_document_id": held["document_id"],
        "processing_status": ProcessingStatus.completed,
        "created_at": now,
        "updated_at": now,
        **made,
    }
    rows = [
        {**common, "chunk_index": place, "content": chunk.content, "embedding": chunk.embedding}
        for place, chunk in enumerate(chunks)
    ]
    yield from each(insert_one(KnowledgeBase), rows)
    return True


async def _checked(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks that can be found by what they mean: each has a vector that can be compared."""
    checked: list[Chunk] = []
    for place, chunk in enumerate(several(chunks, "chunks")):
        if not isinstance(chunk, Chunk):
            raise BadInput(f"chunk {place} is a Chunk, not {type(chunk).__name__}")
        vector = comparable(chunk.embedding, DIMENSION, f"the vector of chunk {place}")
        checked.append(Chunk(chunk.content, vector))
        if place % CHUNKS_PER_TURN == CHUNKS_PER_TURN - 1:
            await asyncio.sleep(0)
    return checked


def _held(claim: DocumentClaim) -> dict[str, Any]:
    given: object = claim
    if not isinstance(given, DocumentClaim):
        raise BadInput(f"a claim is what claim() gave, not {type(given).__name__}")
    return {
        "document_id": claim.id,
        "worker": claim.worker,
        "attempt": claim.attempt,
        "content_hash": claim.content_hash,
    }


def _stale(claim: DocumentClaim) -> StaleVersion:
    return StaleVersion(
        f"{claim.worker} does not hold document {claim.id} in attempt {claim.attempt} any more: its lease has ended, "
        "or the document was revised or deleted"
    )


def _storable(error: str) -> str:
    """Return what a database stores of an error, whose text is anybody's."""
    if not is_text(error):
        raise BadInput(f"an error is told in a text, not {type(error).__name__}")
    return error.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _attempts(most: int) -> int:
    if whole_number(most, "most_attempts") < 1:
        raise BadInput(f"most_attempts is a whole number from 1, not {most}")
    return most
