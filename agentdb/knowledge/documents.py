"""Documents: what users want to be found again, whole and in the chunks that `agentdb.knowledge.processing` makes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import delete, func, select, update

from agentdb.criteria import beyond
from agentdb.engine.asked import members, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.containing import contains, tags_given
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound, brief
from agentdb.knowledge.finding import Passages
from agentdb.knowledge.models import KnowledgeBase, ProcessingStatus
from agentdb.knowledge.passages import LIMIT, OF_USER, documents
from agentdb.knowledge.processing import Processing
from agentdb.knowledge.records import StatusCount
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

_OWN: Final = documents.c.user_id == func.coalesce(of(documents.c.user_id), documents.c.user_id)
_DOCUMENT: Final = (
    documents.c.id == of(documents.c.id, "document_id"),
    documents.c.parent_document_id.is_(None),
    _OWN,
)
_ORDER: Final = [documents.c.created_at, documents.c.id]
# What a caller describes a document by; the chunks have the first four too, so that they are found by them.
_DESCRIBING: Final = ("title", "tags", "content_type", "source", "metadata", "s3_key", "s3_bucket", "file_size")
_REVISE_INSTEAD: Final = "a document is changed by revise, and its chunks by processing it"
_SHARED: Final = frozenset(_DESCRIBING[:4])

_FIND: Final = Plan[KnowledgeBase](select(KnowledgeBase).where(*_DOCUMENT), name="documents.find", rows=KnowledgeBase)
_LOCK: Final = Plan[KnowledgeBase](
    select(KnowledgeBase).where(*_DOCUMENT).with_for_update(), name="documents.revise: lock", rows=KnowledgeBase
)
_REMOVE: Final = Plan[None](delete(documents).where(*_DOCUMENT), name="documents.remove")
_REMOVE_CHUNKS: Final = Plan[None](
    delete(documents).where(documents.c.parent_document_id == of(documents.c.id, "document_id")),
    name="documents.remove: chunks",
)
_CHUNKS: Final = Plan[KnowledgeBase](
    select(KnowledgeBase)
    .where(
        documents.c.parent_document_id == of(documents.c.id, "document_id"),
        documents.c.chunk_index > of(documents.c.chunk_index, "after"),
        _OWN,
    )
    .order_by(documents.c.chunk_index)
    .limit(LIMIT),
    name="documents.chunks",
    rows=KnowledgeBase,
)
_STATUSES: Final = Plan[StatusCount](
    select(documents.c.processing_status, func.count())
    .where(documents.c.parent_document_id.is_(None), _OWN)
    .group_by(documents.c.processing_status)
    .order_by(documents.c.processing_status),
    name="documents.statuses",
    rows=StatusCount,
)


@cache
def _change_plan(changes: frozenset[str], *, chunks: bool) -> Plan[KnowledgeBase]:
    owner = documents.c.parent_document_id if chunks else documents.c.id
    statement = update(documents).where(owner == of(documents.c.id, "document_id"))
    return Plan(statement.returning(documents), name="documents.revise", rows=KnowledgeBase, columns=sorted(changes))


@cache
def _list_plan(tagged: bool, status: bool, after: bool) -> Plan[KnowledgeBase]:
    statement = select(KnowledgeBase).where(OF_USER, documents.c.parent_document_id.is_(None))
    if tagged:
        statement = statement.where(contains(documents.c.tags, "tags"))
    if status:
        statement = statement.where(documents.c.processing_status == of(documents.c.processing_status, "status"))
    if after:
        statement = statement.where(beyond(_ORDER, newest_first=True))
    statement = statement.order_by(*(column.desc() for column in _ORDER)).limit(LIMIT)
    return Plan(statement, name="documents.list", rows=KnowledgeBase)


class Documents(Processing, Passages):
    """A user's documents. Their chunks are rows of the same table, and belong to them.

    Wherever ``user_id`` may be left out, it narrows to that user's; somebody else's document is NotFound.
    """

    async def create(
        self, user_id: int, title: str, content: str, *, tags: Iterable[str] = (), **details: Any
    ) -> KnowledgeBase:
        """Add a document that waits to be processed, and return it; words find it at once, meaning once it is embedded.

        Args:
            user_id: whose.
            title: found like the content.
            content: of any length; may be empty.
            tags: to narrow searches by.
            details: ``content_type``, ``source``, ``metadata``, ``s3_key``, ``s3_bucket``, ``file_size``, ``uuid``.

        Raises: BadInput; MissingReference for a user that is not there.
        Cost: one insert; concurrent calls share one.
        """
        if unknown := set(details) - {*_DESCRIBING, "uuid"}:
            raise BadInput(f"documents: {min(unknown)} is not the caller's to give")
        if "metadata" in details:
            details["metadata"] = members(details["metadata"], "documents.metadata")
        values = {"user_id": user_id, "title": title, "content": content, "tags": tags_given(tags), **details}
        row: KnowledgeBase | None = await self.connection.fetch_one(
            insert_one(KnowledgeBase), {**values, "content_hash": hash_of(content)}
        )
        return self._there(row)

    async def revise(self, document_id: int, *, user_id: int | None = None, **changes: Any) -> KnowledgeBase:
        """Change a document, and return it.

        Where the content is another than before, by its hash, the document waits to be processed again: its chunks and
        its embedding, which tell what it said before, are gone in the same moment, and so is any worker's claim.

        Args:
            document_id: a document, not a chunk.
            user_id: whose it must be.
            changes: ``title``, ``content``, ``tags`` and what else `create` takes.

        Raises: NotFound; BadInput.
        Cost: one transaction.
        """
        if unknown := set(changes) - {*_DESCRIBING, "content"}:
            raise BadInput(f"documents: {min(unknown)} is not the caller's to change")
        if not changes:
            raise BadInput("nothing to change in the document")
        if "tags" in changes:
            changes["tags"] = tags_given(changes["tags"])
        if "metadata" in changes:
            changes["metadata"] = members(changes["metadata"], "documents.metadata")
        asked = {"document_id": document_id, "user_id": user_id}
        document = await self.connection.run(lambda: _revised(asked, changes))
        if document is None:
            raise missing(document_id)
        return document

    async def document(self, document_id: int, *, user_id: int | None = None) -> KnowledgeBase:
        """Return a document; a chunk is none.

        Raises: NotFound.
        """
        asked = {"document_id": document_id, "user_id": user_id}
        row: KnowledgeBase | None = await self.connection.fetch_one(_FIND, asked)
        if row is None:
            raise missing(document_id)
        return row

    async def chunks(
        self, document_id: int, *, user_id: int | None = None, limit: int = 100, after: int = -1
    ) -> list[KnowledgeBase]:
        """Return a document's chunks in order; one that is short, or not processed yet, has none.

        Args:
            document_id: whose.
            user_id: whose the document must be.
            limit: how many.
            after: only those behind this ``chunk_index``.

        Raises: NotFound when there is no such document.
        """
        asked = {"document_id": document_id, "user_id": user_id}
        rows = await self.connection.fetch_all(_CHUNKS, {**asked, "after": after, "limit": capped(limit, self.most)})
        if not rows:
            await self.document(document_id, user_id=user_id)
        return rows

    async def delete(self, document_id: int, *, user_id: int | None = None) -> bool:
        """Delete a document with its chunks, and tell whether it was there."""
        asked = {"document_id": document_id, "user_id": user_id}
        return await self.connection.execute(_REMOVE, asked) > 0

    async def of_user(
        self,
        user_id: int,
        *,
        tags: Iterable[str] = (),
        status: ProcessingStatus | str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[KnowledgeBase]:
        """Return a page of a user's documents, the newest first.

        Args:
            user_id: whose.
            tags: only those with all of these.
            status: only those that have got this far.
            limit: how many.
            after: the ``next`` of the page before.

        Raises: BadInput.
        Cost: one read by ix_knowledge_base__user_id_created_at_id.
        """
        wanted, limit = tags_given(tags), capped(limit, self.most)
        status = None if status is None else _status(status)
        whole_number(user_id, "a user_id")
        listing = f"documents:{user_id}:{wanted}:{status}"
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        values |= {name: value for name, value in (("tags", wanted), ("status", status)) if value}
        if after is not None:
            values |= {f"after_{place}": value for place, value in enumerate(values_of(listing, after, _ORDER))}
        plan = _list_plan(bool(wanted), bool(status), after is not None)
        return page_of(await self.connection.fetch_all(plan, values), limit, listing, [column.key for column in _ORDER])

    async def statuses(self, *, user_id: int | None = None) -> list[StatusCount]:
        """Return how many documents have got how far, by status; a status without any is not told."""
        return await self.connection.fetch_all(_STATUSES, {"user_id": user_id})

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> KnowledgeBase:  # noqa: ARG002
        """Refuse: a document is changed by `revise`, which knows what becomes of its chunks.

        Raises: BadInput.
        """
        raise BadInput(_REVISE_INSTEAD)

    async def upsert(self, *, on: Sequence[str], **values: Any) -> KnowledgeBase:  # noqa: ARG002
        """Refuse, likewise."""
        raise BadInput(_REVISE_INSTEAD)


def _status(status: Any) -> ProcessingStatus:
    try:
        return ProcessingStatus(status)
    except ValueError:
        raise BadInput(f"{brief(status)} is not one of {', '.join(ProcessingStatus)}") from None


def hash_of(content: Any) -> str:
    """Return the digest of a content: another one has to be embedded anew."""
    if not isinstance(content, str):
        raise BadInput(f"a document's content is a text, not {type(content).__name__}")
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


def missing(document_id: int) -> NotFound:
    """Return the error of a document that is not there, or is somebody else's."""
    return NotFound(f"there is no document {document_id}")


_AGAIN: Final[dict[str, Any]] = {
    "processing_status": ProcessingStatus.pending,
    "attempts": 0,
    "error": None,
    "available_at": None,
    "claimed_by": None,
    "lease_expires_at": None,
    "embedding": None,
    "embedding_model": None,
    "embedding_version": None,
    "total_chunks": 1,
}


def _revised(asked: dict[str, Any], changes: dict[str, Any]) -> Script[KnowledgeBase | None]:
    before = yield from one(_LOCK, **asked)
    if before is None:
        return None
    given, chunk = dict(changes), {"document_id": asked["document_id"]}
    if "content" in changes:
        given["content_hash"] = hash_of(changes["content"])
        if given["content_hash"] != before.content_hash or changes["content"] != before.content:
            given |= _AGAIN
            yield from count(_REMOVE_CHUNKS, **chunk)
    if shared := {name: value for name, value in given.items() if name in _SHARED}:
        yield from count(_change_plan(frozenset(shared), chunks=True), **chunk, **shared)
    return (yield from one(_change_plan(frozenset(given), chunks=False), **chunk, **given))
