"""Workflows, their executions, and agents' sessions."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import Final

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.changes import note_statuses
from agentdb.engine.schema.ddl import Deletes, append_only, descending_index, partial_index
from agentdb.owners import Owner
from agentdb.types import (
    CASCADE,
    SET_NULL,
    Json,
    Key,
    Moment,
    Name,
    Prose,
    Tx,
    Uuid,
    Whole,
    choice,
    flag,
    json,
    ref,
    whole,
    words,
)

WAITING: Final = "executions"
"""The topic of those who wait for executions to claim."""
CHANGED: Final = "execution_changes"
"""The topic of those who follow executions."""


class WorkflowStatus(StrEnum):
    """Whether a workflow may be executed."""

    draft = auto()
    active = auto()
    inactive = auto()
    archived = auto()


class ExecutionStatus(StrEnum):
    """How far an execution has come."""

    pending = auto()
    running = auto()
    completed = auto()
    failed = auto()
    cancelled = auto()


class NodeStatus(StrEnum):
    """How far one attempt at a node has come."""

    pending = auto()
    running = auto()
    completed = auto()
    failed = auto()
    skipped = auto()
    cancelled = auto()


class AgentSessionStatus(StrEnum):
    """How far an agent's session has come."""

    running = auto()
    paused = auto()
    completed = auto()
    failed = auto()


class Workflow(Mutable, Entity):
    """A graph of steps."""

    __tablename__ = "workflows"
    __table_args__ = (
        # serves a user's workflows, the newest first, and the user's deletion
        Index(None, "user_id", "id"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    name: Mapped[Name]
    description: Mapped[Prose | None]
    status: Mapped[WorkflowStatus] = choice(WorkflowStatus, WorkflowStatus.draft)
    version: Mapped[int] = whole(1, 32)  # counts changes of the definition
    definition: Mapped[Json]  # nodes and edges: see agentdb.execution.definitions

    executions: Mapped[list[Execution]] = relationship(
        back_populates="workflow", lazy="raise", passive_deletes="all", order_by="Execution.id"
    )


class WorkflowVersion(Entity):
    """A definition that a workflow had while it was active: what its executions of that version do."""

    __tablename__ = "workflow_versions"
    __owner__ = Owner.via("workflow_id", "workflows")

    workflow_id: Mapped[int] = ref("workflows.id", CASCADE, primary_key=True, index=False)
    version: Mapped[Whole] = mapped_column(primary_key=True, autoincrement=False)
    definition: Mapped[Json]


append_only(Entity.metadata.tables["workflow_versions"], Deletes.WITH_PARENT)


class Execution(Mutable, Entity):
    """A workflow to be run, running, or run."""

    __tablename__ = "executions"
    __table_args__ = (
        UniqueConstraint("workflow_id", "idempotency_key"),
        # serves claiming: the most urgent of a queue, then the oldest
        partial_index(
            "ix_executions__ready", "queue", "priority DESC", "available_at", "id", where="status = 'pending'"
        ),
        # serves fair claiming: who waits in a queue, and what each would be given first
        partial_index(
            "ix_executions__waiting",
            "queue",
            "user_id",
            "priority DESC",
            "available_at",
            "id",
            where="status = 'pending'",
        ),
        # serves rescuing, and counting what a queue runs
        partial_index("ix_executions__leased", "lease_expires_at", "queue", where="status = 'running'"),
        # serves a queue's dead letters
        partial_index("ix_executions__failed", "queue", "id", where="status = 'failed'"),
        # serves pruning
        partial_index("ix_executions__finished", "completed_at", where="completed_at IS NOT NULL"),
        # serves a user's executions, the user's deletion, and whose turn it is in a queue
        Index(None, "user_id", "queue", "started_at"),
        # Workers are woken by what may be claimed, followers by what becomes of an execution.
        {"info": {"tells": {WAITING: ("available_at",), CHANGED: ("status",)}}},
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    workflow_id: Mapped[int] = ref("workflows.id", CASCADE, index=False)
    workflow_version: Mapped[int] = whole(1, 32)  # the workflow's when this was asked for
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    agent_id: Mapped[int | None] = ref("agents.id", SET_NULL)
    status: Mapped[ExecutionStatus] = choice(ExecutionStatus, ExecutionStatus.pending)
    input: Mapped[Json | None]
    output: Mapped[Json | None]
    error: Mapped[Prose | None]
    metadata_: Mapped[Json] = json(dict, "metadata")
    queue: Mapped[str] = words("default", 255)
    priority: Mapped[int] = whole(0, 16)  # the highest first
    attempt: Mapped[int] = whole(0, 32)  # how often it was claimed: it never goes back, and so tells claims apart
    max_attempts: Mapped[int] = whole(3, 32)  # the last attempt; an attempt that is given back moves it on
    available_at: Mapped[Moment]  # not claimed before
    claimed_by: Mapped[Name | None]
    lease_expires_at: Mapped[Moment | None]  # kept by one that failed because it passed
    idempotency_key: Mapped[Name | None]
    cancel_requested: Mapped[bool] = flag(False)
    current_node_id: Mapped[Name | None]
    parent_execution_id: Mapped[int | None] = ref("executions.id", SET_NULL)
    started_at: Mapped[Moment | None]
    completed_at: Mapped[Moment | None]

    workflow: Mapped[Workflow] = relationship(back_populates="executions", lazy="raise")
    logs: Mapped[list[ExecutionLog]] = relationship(
        back_populates="execution", lazy="raise", passive_deletes="all", order_by="ExecutionLog.id"
    )


class ExecutionLog(Mutable, Entity):
    """One attempt at one node of an execution."""

    __tablename__ = "execution_logs"
    __table_args__ = (
        UniqueConstraint("execution_id", "node_id", "attempt"),
        # serves followers, in commit order
        Index(None, "tx", "id"),
        # serves followers of one execution
        Index(None, "execution_id", "tx", "id"),
        {"info": {"tells": {CHANGED: ("status",)}}},
    )
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 (SQLAlchemy's own; an update moves tx)
    __owner__ = Owner.via("execution_id", "executions")

    id: Mapped[Key]
    execution_id: Mapped[int] = ref("executions.id", CASCADE, index=False)
    node_id: Mapped[Name]
    node_name: Mapped[Name]
    attempt: Mapped[int] = whole(1, 32)  # the execution's, in which it was tried
    status: Mapped[NodeStatus] = choice(NodeStatus, NodeStatus.pending)
    input: Mapped[Json | None]
    output: Mapped[Json | None]
    error: Mapped[Prose | None]
    started_at: Mapped[Moment | None]
    completed_at: Mapped[Moment | None]
    duration_ms: Mapped[Whole | None]
    tx: Mapped[Tx]

    execution: Mapped[Execution] = relationship(back_populates="logs", lazy="raise")


class ExecutionChange(Entity):
    """A status that an execution or one of its nodes came to: noted by the database within the change itself."""

    __tablename__ = CHANGED
    __table_args__ = (
        # serves followers of one execution, whose changes have rising ids in the order of commits
        Index(None, "execution_id", "id"),
    )
    __owner__ = Owner.via("execution_id", "executions")

    id: Mapped[Key]
    execution_id: Mapped[int] = ref("executions.id", CASCADE, index=False)
    node_id: Mapped[Name | None]  # None: the execution itself
    attempt: Mapped[int] = whole(0, 32)  # the execution's
    status: Mapped[NodeStatus] = choice(NodeStatus)
    tx: Mapped[Tx]


append_only(Entity.metadata.tables[CHANGED], Deletes.WITH_PARENT)
note_statuses(*(Entity.metadata.tables[name] for name in ("executions", "execution_logs")))


class AgentSession(Mutable, Entity):
    """An agent at work for a user, and all it needs to go on after a pause."""

    __tablename__ = "agent_sessions"
    __table_args__ = (
        # serves a user's sessions, last active first, and the user's deletion
        descending_index("ix_agent_sessions__user_id_last_active_at_id", "user_id", "last_active_at DESC", "id DESC"),
        # serves the live ones, and the end of those that fell silent
        partial_index("ix_agent_sessions__live", "last_active_at", "id", where="status IN ('running', 'paused')"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    agent_id: Mapped[int] = ref("agents.id", CASCADE)
    conversation_id: Mapped[int | None] = ref("conversations.id", SET_NULL)
    status: Mapped[AgentSessionStatus] = choice(AgentSessionStatus, AgentSessionStatus.running)
    context: Mapped[Json] = json(dict)
    checkpoints: Mapped[Json] = json(list)
    variables: Mapped[Json] = json(dict)
    template_id: Mapped[Name | None]
    template_version: Mapped[Name | None]
    messages_count: Mapped[int] = whole(0)
    tools_used: Mapped[Json] = json(list)
    error_logs: Mapped[Json] = json(list)
    started_at: Mapped[Moment]
    last_active_at: Mapped[Moment]
    completed_at: Mapped[Moment | None]
    version: Mapped[int] = whole(1, 32)  # counts changes of the status
