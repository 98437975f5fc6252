"""The machines of an installation, and what runs on them."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum, auto

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, relationship

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import only_characters
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
    Whole,
    choice,
    flag,
    json,
    money,
    ref,
    whole,
    words,
)


class HostType(StrEnum):
    """What a machine does."""

    runner = auto()
    supervisor = auto()


class LogRole(StrEnum):
    """Who speaks in a run's context."""

    platform = auto()
    llm = auto()


class LogSource(StrEnum):
    """Where an entry of a run's context came from."""

    start_prompt = auto()
    end_prompt = auto()
    console = auto()
    llm = auto()


class LogType(StrEnum):
    """What an entry of a run's context is, when it is not plain text."""

    comment = auto()
    error = auto()
    system = auto()
    tool = auto()


class Host(Mutable, Entity):
    """A machine that runs agents, or the supervisor."""

    __tablename__ = "hosts"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("machine_id"),
        *only_characters("name", "A-Za-z0-9_-", name="name_characters"),
    )
    __owner__ = Owner.installation

    id: Mapped[Key]
    name: Mapped[str] = words(length=64)
    machine_id: Mapped[Name | None]  # stays when the host is renamed
    restricted: Mapped[bool] = flag(False)  # only users assigned to it may run here
    host_type: Mapped[HostType] = choice(HostType, HostType.runner)
    last_ip: Mapped[Prose | None]
    last_version: Mapped[Prose | None]
    environment: Mapped[Json] = json(dict)
    last_active: Mapped[Moment | None]


class UserHost(Entity):
    """A user assigned to a host."""

    __tablename__ = "user_hosts"
    __table_args__ = (
        # serves the users assigned to a host, their count, and the host's deletion
        Index(None, "host_id", "user_id"),
    )
    __owner__ = Owner.by("user_id")

    user_id: Mapped[int] = ref("users.id", CASCADE, index=False, primary_key=True)
    host_id: Mapped[int] = ref("hosts.id", CASCADE, index=False, primary_key=True)

    host: Mapped[Host] = relationship(lazy="raise")


class UserNotification(Mutable, Entity):
    """What is newest for a user, so that watchers ask only for more."""

    __tablename__ = "user_notifications"
    __table_args__ = (
        # serves followers, in commit order
        Index(None, "tx", "user_id"),
    )
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 (SQLAlchemy's own; an update moves tx)
    __owner__ = Owner.by("user_id")

    user_id: Mapped[int] = ref("users.id", CASCADE, index=False, primary_key=True)
    latest_host_id: Mapped[int | None] = ref("hosts.id", SET_NULL)
    latest_log_id: Mapped[int] = whole(0)  # of context_log; these three outlive their rows
    latest_mail_id: Mapped[int] = whole(0)
    latest_chat_id: Mapped[int] = whole(0)
    last_active: Mapped[Moment | None]
    tx: Mapped[Tx]


class Run(Entity):
    """The number of a run, given by its insert."""

    __tablename__ = "runs"
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE)


class RunSession(Mutable, Entity):
    """A stretch of a run, or of one of its subagents, between two resets of its context.

    No index has a column that changes: a session changes with every line of its log and every heartbeat, and PostgreSQL
    then writes the row alone.
    """

    __tablename__ = "run_session"
    __table_args__ = (
        # serves a user's sessions, by run
        UniqueConstraint("user_id", "run_id", "subagent_id", "session_id"),
        # serves all sessions, and those of one run, by run: a run is one user's
        UniqueConstraint("run_id", "subagent_id", "session_id"),
        # serves a host's sessions, by run, and the host's deletion
        Index(None, "host_id", "run_id", "subagent_id", "session_id"),
        CheckConstraint("subagent_id <= 0", name="subagent_id"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    run_id: Mapped[int] = ref("runs.id", CASCADE, index=False)
    subagent_id: Mapped[int] = whole(0)  # 0: the main agent; negative: a short-lived one
    session_id: Mapped[Whole]  # counts from 1 within the run
    host_id: Mapped[int | None] = ref("hosts.id", SET_NULL, index=False)
    last_active: Mapped[Moment]
    model_name: Mapped[Name]
    latest_log_id: Mapped[int] = whole(0)
    latest_tx: Mapped[int] = whole(0)  # of its entries, whose tx never falls as their ids rise
    total_lines: Mapped[int] = whole(0)
    total_cost: Mapped[Decimal] = money()

    logs: Mapped[list[ContextLog]] = relationship(
        back_populates="run_session", lazy="raise", passive_deletes="all", order_by="ContextLog.id"
    )


class ContextLog(Entity):
    """An entry of a run's context."""

    __tablename__ = "context_log"
    __table_args__ = (
        # serves a session's entries, in order
        Index(None, "run_session_id", "id"),
        # serves followers, in commit order
        Index(None, "tx", "id"),
    )
    __owner__ = Owner.via("run_session_id", "run_session")

    id: Mapped[Key]
    run_session_id: Mapped[int] = ref("run_session.id", CASCADE, index=False)
    host_id: Mapped[int | None] = ref("hosts.id", SET_NULL)
    role: Mapped[LogRole] = choice(LogRole)
    source: Mapped[LogSource | None] = choice(LogSource)
    type: Mapped[LogType | None] = choice(LogType)
    message: Mapped[Prose]
    attachment_id: Mapped[int | None] = ref("attachments.id", SET_NULL)
    tx: Mapped[Tx]

    run_session: Mapped[RunSession] = relationship(back_populates="logs", lazy="raise")
