"""How the queue of documents moves: one statement for each step, whose conditions tell whether it may be taken."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import and_, bindparam, case, delete, or_, select, update

from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.knowledge.models import KnowledgeBase
from agentdb.knowledge.passages import LIMIT, documents

_STATUS: Final = documents.c.processing_status
_NOW: Final = of(documents.c.updated_at, "now")
_MOST: Final = bindparam("most_attempts", type_=WholeType())
_LEFT: Final = and_(_STATUS == "processing", documents.c.lease_expires_at <= _NOW)
_FREE: Final[dict[str, Any]] = {"claimed_by": None, "lease_expires_at": None, "updated_at": _NOW}

# What workers left behind whose attempts are used up: whatever ends a worker ends with the last of them.
GIVEN_UP: Final = Plan[None](
    update(documents)
    .where(_LEFT, documents.c.attempts >= _MOST)
    .values(
        processing_status="failed",
        error="the worker fell silent in the last attempt: its lease has ended",
        available_at=None,
        **_FREE,
    ),
    name="documents.claim: given up",
)
# Locked in a CTE of its own, which runs once: in a subquery the planner may ask for another batch per row.
_ready = (
    select(documents.c.id)
    .where(
        documents.c.parent_document_id.is_(None),
        or_(
            and_(_STATUS == "pending", or_(documents.c.available_at.is_(None), documents.c.available_at <= _NOW)), _LEFT
        ),
    )
    .order_by(documents.c.id)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
    .cte("ready")
)
CLAIM: Final = Plan[KnowledgeBase](
    update(documents)
    .where(documents.c.id.in_(select(_ready.c.id)))
    .values(
        processing_status="processing",
        attempts=documents.c.attempts + 1,
        claimed_by=of(documents.c.claimed_by, "worker"),
        lease_expires_at=of(documents.c.lease_expires_at, "lease_until"),
        available_at=None,
        updated_at=_NOW,
    )
    .returning(documents),
    name="documents.claim",
    rows=KnowledgeBase,
)

_HELD: Final = (
    documents.c.id == of(documents.c.id, "document_id"),
    _STATUS == "processing",
    documents.c.claimed_by == of(documents.c.claimed_by, "worker"),
    documents.c.attempts == of(documents.c.attempts, "attempt"),
    documents.c.content_hash.is_not_distinct_from(of(documents.c.content_hash)),
)


def _let_go(name: str, **values: Any) -> Plan[KnowledgeBase]:
    statement = update(documents).where(*_HELD).values(**{**_FREE, **values})
    return Plan(statement.returning(documents), name=f"documents.{name}", rows=KnowledgeBase)


HEARTBEAT: Final = _let_go(
    "heartbeat",
    claimed_by=documents.c.claimed_by,
    lease_expires_at=of(documents.c.lease_expires_at, "lease_until"),
)
COMPLETE: Final = _let_go(
    "complete",
    processing_status="completed",
    error=None,
    total_chunks=of(documents.c.total_chunks),
    embedding=of(documents.c.embedding),
    embedding_model=of(documents.c.embedding_model),
    embedding_version=of(documents.c.embedding_version),
)
_tries_left: Final = and_(bindparam("retry", type_=WholeType()) == 1, documents.c.attempts < _MOST)
FAIL: Final = _let_go(
    "fail",
    processing_status=case((_tries_left, "pending"), else_="failed"),
    available_at=case((_tries_left, of(documents.c.available_at)), else_=None),
    error=of(documents.c.error),
)
RELEASE: Final = _let_go("release", processing_status="pending", attempts=documents.c.attempts - 1)

REMOVE_CHUNKS: Final = Plan[None](
    delete(documents).where(documents.c.parent_document_id == of(documents.c.id, "document_id")),
    name="documents.complete: chunks",
)
RETRY: Final = Plan[int](
    update(documents)
    .where(documents.c.id == of(documents.c.id, "document_id"), _STATUS == "failed")
    .values(processing_status="pending", attempts=0, available_at=None, updated_at=_NOW)
    .returning(documents.c.id),
    name="documents.retry",
)
_outdated = (
    select(documents.c.id)
    .where(
        _STATUS == "completed",
        documents.c.parent_document_id.is_(None),
        documents.c.id > of(documents.c.id, "after"),
        or_(
            documents.c.embedding_model.is_distinct_from(of(documents.c.embedding_model)),
            documents.c.embedding_version.is_distinct_from(of(documents.c.embedding_version)),
        ),
    )
    .order_by(documents.c.id)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
    .cte("outdated")
)
EMBED_AGAIN: Final = Plan[int](
    update(documents)
    .where(documents.c.id.in_(select(_outdated.c.id)))
    .values(processing_status="pending", attempts=0, error=None, available_at=None, updated_at=_NOW)
    .returning(documents.c.id),
    name="documents.embed_again",
)
