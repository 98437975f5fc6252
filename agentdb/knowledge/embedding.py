"""Running the queue of documents: each is cut up, embedded by whatever function is given, and stored."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from agentdb.engine.asked import is_text, whole_number
from agentdb.errors import AgentDBError, BadInput, StaleVersion, Unavailable, brief
from agentdb.knowledge.models import ProcessingStatus
from agentdb.knowledge.processing import LEASE_SECONDS, MOST_ATTEMPTS, Processing
from agentdb.knowledge.records import Chunk, DocumentClaim
from agentdb.knowledge.splitting import Splitter, split

Embed = Callable[[list[str]], Awaitable[Sequence[Any]]]

TEXTS_PER_CALL: Final = 100
LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a run of the queue has done.

    Attributes:
        completed: how many documents.
        chunks: how many chunks, or whole documents, were embedded for them.
        failed: how many documents have failed for good.
        again: how many attempts failed that will be made again.
        lost: how many claims were lost: another worker took over, or the document was revised or deleted.
    """

    completed: int = 0
    chunks: int = 0
    failed: int = 0
    again: int = 0
    lost: int = 0

    def __add__(self, other: Embedded) -> Embedded:
        """Return both together."""
        return Embedded(
            self.completed + other.completed,
            self.chunks + other.chunks,
            self.failed + other.failed,
            self.again + other.again,
            self.lost + other.lost,
        )


@dataclass(frozen=True, slots=True)
class Embedder:
    """How documents are embedded.

    Args:
        embed: ``async def embed(texts: list[str]) -> list[vector]``: a vector of 1536 numbers for each text, in order.
        model: what it embeds with; kept with every row.
        version: of the model.
        split: what cuts a content up.
        texts_per_call: how many texts ``embed`` is given at once.
        lease_seconds: how long the worker may be silent before others take over; it is heard three times as often.
        most_attempts: how often a document is tried.
    """

    embed: Embed
    model: str
    version: str | None = None
    split: Splitter = split
    texts_per_call: int = TEXTS_PER_CALL
    lease_seconds: float = LEASE_SECONDS
    most_attempts: int = MOST_ATTEMPTS

    def __post_init__(self) -> None:
        # What is wrong with these is no document's fault, and none shall bear it.
        for what, function in (("embed", self.embed), ("split", self.split)):
            if not callable(function):
                raise BadInput(f"{what} is a function, not {type(function).__name__}")
        for what, name in (("model", self.model), ("version", self.version)):
            if not ((name is None and what == "version") or (is_text(name) and 1 <= len(name or "") <= LONGEST_NAME)):
                raise BadInput(f"a {what} is a text of 1 to {LONGEST_NAME} characters, not {brief(name)}")
        if whole_number(self.texts_per_call, "texts_per_call") < 1:
            raise BadInput(f"texts_per_call is a whole number from 1, not {self.texts_per_call}")

    async def run(
        self, documents: Processing, *, worker: str | None = None, at_once: int = 1, most: int | None = None
    ) -> Embedded:
        """Work on documents until none waits, and return what was done; any number of processes may run at once.

        When it is cancelled, what it holds is given back, without using up an attempt.

        Args:
            documents: ``db.knowledge.documents``.
            worker: its name; by default made of the host, the process and a random mark.
            at_once: how many documents at a time.
            most: how many documents at most; None: all that wait.

        Raises: BadInput; Unavailable and the like where the database does not answer, and what is held is given back.
        """
        if most is not None:
            whole_number(most, "most")
        name = worker or f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(3)}"
        done, taken = Embedded(), 0
        while most is None or taken < most:
            n = at_once if most is None else min(at_once, most - taken)
            claims = await documents.claim(
                name, n=n, lease_seconds=self.lease_seconds, most_attempts=self.most_attempts
            )
            if not claims:
                break
            taken += len(claims)
            try:
                async with asyncio.TaskGroup() as group:
                    works = [group.create_task(self._work(documents, claim)) for claim in claims]
            except ExceptionGroup as troubles:  # the first one stopped the others
                trouble = troubles.exceptions[0]
                raise trouble from trouble.__cause__  # the driver's own error stays with it
            done = sum((work.result() for work in works), done)
        return done

    async def _work(self, documents: Processing, claim: DocumentClaim) -> Embedded:
        """Embed one document, with its lease kept, and tell what became of it."""
        keeper = asyncio.create_task(self._keep(documents, claim))
        making = asyncio.create_task(self._chunks(claim))
        try:
            await asyncio.wait({keeper, making}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done():
                keeper.result()  # it ends only by an error
            chunks = making.result()
            await documents.complete(claim, chunks, model=self.model, version=self.version)
            return Embedded(completed=1, chunks=len(chunks))
        except StaleVersion:
            return Embedded(lost=1)
        except asyncio.CancelledError as error:
            this = asyncio.current_task()
            if this is not None and not this.cancelling():  # the function gave up by itself
                return await self._failed(documents, claim, error)
            with suppress(AgentDBError):
                await asyncio.shield(documents.release(claim))
            raise
        except Exception as error:  # noqa: BLE001 (whatever the function raises is the document's error)
            return await self._failed(documents, claim, error)
        finally:
            for task in (keeper, making):
                task.cancel()
            await asyncio.gather(keeper, making, return_exceptions=True)

    async def _failed(self, documents: Processing, claim: DocumentClaim, error: BaseException) -> Embedded:
        told = f"{type(error).__name__}: {error}"
        try:
            status = await documents.fail(
                claim, told, retry=not isinstance(error, BadInput), most_attempts=self.most_attempts
            )
        except StaleVersion:
            return Embedded(lost=1)
        return Embedded(failed=1) if status is ProcessingStatus.failed else Embedded(again=1)

    async def _keep(self, documents: Processing, claim: DocumentClaim) -> None:
        """Extend the lease for ever, or until it is lost."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            with suppress(Unavailable):  # the lease lasts for two more
                await documents.heartbeat(claim, lease_seconds=self.lease_seconds)

    async def _chunks(self, claim: DocumentClaim) -> list[Chunk]:
        """Return a document's chunks with their embeddings.

        Raises: BadInput when the function gives another number of vectors than it was given texts.
        """
        # A long text takes a while to cut up, and others wait for the event loop.
        texts = list(await asyncio.to_thread(self.split, claim.document.content))
        chunks: list[Chunk] = []
        for begin in range(0, len(texts), self.texts_per_call):
            given = texts[begin : begin + self.texts_per_call]
            vectors = await self.embed(given)
            if len(vectors) != len(given):
                raise BadInput(f"{len(given)} texts were to be embedded, and {len(vectors)} vectors came back")
            chunks += (Chunk(text, vector) for text, vector in zip(given, vectors, strict=True))
        return chunks
