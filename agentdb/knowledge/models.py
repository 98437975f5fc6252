"""Vectors, memories and documents."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import contents_index, descending_index, partial_index
from agentdb.engine.schema.fulltext import searchable
from agentdb.engine.schema.vectors import fit_collections
from agentdb.engine.vectors.indexing import IndexKind
from agentdb.engine.vectors.ranking import Distance
from agentdb.owners import Owner
from agentdb.types import (
    CASCADE,
    SET_NULL,
    Digest,
    Json,
    Key,
    Moment,
    Name,
    Prose,
    Uuid,
    Vec,
    Whole,
    choice,
    json,
    ref,
    vector,
    whole,
    words,
)


class ProcessingStatus(StrEnum):
    """How far a document has been cut up and embedded."""

    pending = auto()
    processing = auto()
    completed = auto()
    failed = auto()


class VectorCollection(Mutable, Entity):
    """Vectors of one dimension, compared by one distance."""

    __tablename__ = "vector_collections"
    __table_args__ = (
        UniqueConstraint("user_id", "name"),
        CheckConstraint("dimension BETWEEN 1 AND 16000", name="dimension"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    name: Mapped[Name]
    dimension: Mapped[int] = whole(bits=32)
    distance: Mapped[Distance] = choice(Distance, Distance.cosine)
    embedding_model: Mapped[Name | None]
    index_kind: Mapped[IndexKind | None] = choice(IndexKind)  # None: each vector is looked at
    revision: Mapped[int] = whole(0)  # of its vectors, as SQLite counts them: see engine.schema.vectors

    vectors: Mapped[list[Vector]] = relationship(back_populates="collection", lazy="raise", passive_deletes="all")


class Vector(Mutable, Entity):
    """A piece of text and its embedding."""

    __tablename__ = "vectors"
    __table_args__ = (
        # serves what a caller knows by a name of its own, and keeps it single
        UniqueConstraint("collection_id", "external_id"),
        # serves a resource's pieces, in order
        Index(None, "resource_id", "order"),
        # serves searches among few of a collection's vectors
        contents_index("ix_vectors__tags", "tags"),
        contents_index("ix_vectors__metadata", "metadata"),
    )
    __owner__ = Owner.first_of(
        Owner.via("collection_id", "vector_collections"),
        Owner.via("conversation_id", "conversations"),
        Owner.via("resource_id", "resources"),
    )

    id: Mapped[Key]
    collection_id: Mapped[int | None] = ref("vector_collections.id", CASCADE)
    conversation_id: Mapped[int | None] = ref("conversations.id", CASCADE)
    resource_id: Mapped[int | None] = ref("resources.id", CASCADE, index=False)
    tool_id: Mapped[int | None] = ref("tools.id", SET_NULL)
    order: Mapped[int] = whole(0)
    external_id: Mapped[Name | None]  # what the caller knows it by
    content: Mapped[str] = words("")
    tags: Mapped[Json] = json(list)
    metadata_: Mapped[Json] = json(dict, "metadata")
    embedding: Mapped[Vec | None]  # as long as the collection's dimension

    collection: Mapped[VectorCollection | None] = relationship(back_populates="vectors", lazy="raise")


class Memory(Mutable, Entity):
    """Something an agent remembers, of everybody or of one user."""

    __tablename__ = "memories"
    __table_args__ = (
        # serves what an agent remembers, newest first
        descending_index("ix_memories__agent_id_created_at_id", "agent_id", "created_at DESC", "id DESC"),
        # serves memories by tag
        contents_index("ix_memories__tags", "tags"),
    )
    __owner__ = Owner.first_of(Owner.by("user_id"), Owner.via("agent_id", "agents"))

    id: Mapped[Key]
    agent_id: Mapped[int] = ref("agents.id", CASCADE, index=False)
    user_id: Mapped[int | None] = ref("users.id", CASCADE)
    kind: Mapped[str] = words("", 255)
    content: Mapped[Prose]
    embedding: Mapped[Vec | None]
    embedding_model: Mapped[Name | None]
    embedding_version: Mapped[Name | None]
    tags: Mapped[Json] = json(list)
    metadata_: Mapped[Json] = json(dict, "metadata")
    provenance: Mapped[Json] = json(dict)
    expires_at: Mapped[Moment | None] = mapped_column(index=True)  # serves the removal of those that ended


class KnowledgeBase(Mutable, Entity):
    """A document, or one of its chunks."""

    __tablename__ = "knowledge_base"
    __table_args__ = (
        # serves documents by tag
        contents_index("ix_knowledge_base__tags", "tags"),
        # serves a document's chunks in order, and its deletion
        UniqueConstraint("parent_document_id", "chunk_index"),
        # serves a user's documents, newest first, and the user's deletion
        descending_index("ix_knowledge_base__user_id_created_at_id", "user_id", "created_at DESC", "id DESC"),
        # serves the claim of what waits to be processed
        partial_index("ix_knowledge_base__waiting", "available_at", "id", where="processing_status = 'pending'"),
        # serves the claim of what a worker left behind
        partial_index("ix_knowledge_base__leases", "lease_expires_at", where="processing_status = 'processing'"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    title: Mapped[Prose]
    content: Mapped[Prose]
    content_type: Mapped[Name | None]
    source: Mapped[Prose | None]
    tags: Mapped[Json] = json(list)
    metadata_: Mapped[Json] = json(dict, "metadata")
    embedding: Mapped[Vec | None] = vector(1536)
    embedding_model: Mapped[Name | None]
    embedding_version: Mapped[Name | None]
    chunk_index: Mapped[int] = whole(0, 32)
    total_chunks: Mapped[int] = whole(1, 32)
    parent_document_id: Mapped[int | None] = ref("knowledge_base.id", CASCADE, index=False)
    processing_status: Mapped[ProcessingStatus] = choice(ProcessingStatus, ProcessingStatus.pending)
    attempts: Mapped[int] = whole(0, 32)
    error: Mapped[Prose | None]
    available_at: Mapped[Moment | None]  # of one that is pending: not to be claimed before
    claimed_by: Mapped[Name | None]
    lease_expires_at: Mapped[Moment | None]
    s3_key: Mapped[Prose | None]
    s3_bucket: Mapped[Prose | None]
    file_size: Mapped[Whole | None]  # bytes
    content_hash: Mapped[Digest | None]  # of the content that is embedded, or to be

    chunks: Mapped[list[KnowledgeBase]] = relationship(
        back_populates="document", lazy="raise", passive_deletes="all", order_by="KnowledgeBase.chunk_index"
    )
    document: Mapped[KnowledgeBase | None] = relationship(
        back_populates="chunks", lazy="raise", remote_side="KnowledgeBase.id"
    )


searchable(Memory, "content")
searchable(KnowledgeBase, "title", "content")
fit_collections(Vector)
