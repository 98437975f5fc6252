"""What is told of documents, memories and searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, auto
from typing import Any

from agentdb.catalog.models import Agent
from agentdb.conversation.models import Message
from agentdb.engine.vectors.indexing import IndexKind
from agentdb.knowledge.models import KnowledgeBase, Memory, ProcessingStatus, Vector


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many documents have got this far."""

    status: ProcessingStatus
    documents: int


@dataclass(frozen=True, slots=True)
class DocumentClaim:
    """A document that one worker holds until its lease ends.

    ``id``, ``worker`` and ``attempt`` are the claim, with the digest of what is to be embedded: whoever held it
    earlier, or holds it with what it said before, is told apart.
    """

    id: int
    worker: str
    attempt: int
    content_hash: str | None
    lease_expires_at: datetime
    document: KnowledgeBase = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document, and its embedding."""

    content: str
    embedding: Any = field(repr=False)  # 1536 numbers


@dataclass(frozen=True, slots=True)
class AgentMemories:
    """An agent and the newest of what it remembers."""

    agent: Agent
    memories: Sequence[Memory]


class Source(StrEnum):
    """Where a hit of a hybrid search is from."""

    document = auto()
    memory = auto()
    message = auto()


@dataclass(frozen=True, slots=True)
class Hit:
    """What a hybrid search has found.

    Attributes:
        source: from where.
        row: the passage, the memory or the message.
        score: the more, the better; of use among the hits of one search only.
        text_rank: its place, from 1, among those with the words; None when it has none of them.
        vector_rank: its place among the nearest; None when it is not among them.
    """

    source: Source
    row: KnowledgeBase | Memory | Message
    score: float
    text_rank: int | None
    vector_rank: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """A vector that a search of a collection has found.

    Attributes:
        row: the vector, and what it is of.
        score: how alike, the more the higher: the cosine, from -1 to 1; 1 / (1 + distance) by l2; the inner product.
        distance: how far apart, the less the nearer.
    """

    row: Vector
    score: float
    distance: float


@dataclass(frozen=True, slots=True)
class CollectionIndex:
    """The index of a collection.

    Attributes:
        kind: how it is indexed; None: it is not, and each vector is looked at.
        valid: whether it is whole; one that is not was left by a crash, or is being built.
        bytes: how large it is on disk.
    """

    kind: IndexKind | None
    valid: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of the true neighbours an index finds.

    Attributes:
        recall: from 0 to 1, on average of the queries.
        worst: of one query.
        queries: how many were tried.
    """

    recall: float
    worst: float
    queries: int
