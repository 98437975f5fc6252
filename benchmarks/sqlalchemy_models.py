"""The tables as SQLAlchemy's own types and classes describe them, for both peers that build on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, FetchedValue, Integer, String, Text, Uuid
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_BIG: Final = BigInteger().with_variant(Integer(), "sqlite")
_JSON: Final = JSON().with_variant(postgresql.JSONB(), "postgresql")
_UUID: Final = Uuid().with_variant(String(36), "sqlite")
# The text that agentdb's tables hold on SQLite.
_MOMENT: Final = DateTime(timezone=True).with_variant(
    sqlite.DATETIME(  # type: ignore[no-untyped-call]
        storage_format="%(year)04d-%(month)02d-%(day)02dT%(hour)02d:%(minute)02d:%(second)02d.%(microsecond)06d+00:00"
    ),
    "sqlite",
)


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own)
        int: _BIG,
        str: Text(),
        datetime: _MOMENT,
        dict[str, Any]: _JSON,
    }


def now() -> datetime:
    return datetime.now(UTC)


class Conversation(Base):
    __tablename__ = "conversations"

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[UUID | str] = mapped_column(_UUID)
    key: Mapped[str | None]
    user_id: Mapped[int]
    agent_id: Mapped[int | None]
    session_id: Mapped[int | None]
    title: Mapped[str] = mapped_column(default="")
    session_context: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    summary_message_id: Mapped[int | None]
    last_position: Mapped[int] = mapped_column(default=0)
    last_message_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Message(Base):
    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int]
    position: Mapped[int]
    role: Mapped[str]
    content: Mapped[dict[str, Any]]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class RunSession(Base):
    __tablename__ = "run_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int]
    last_active: Mapped[datetime]
    latest_log_id: Mapped[int]
    total_lines: Mapped[int]
    updated_at: Mapped[datetime]


class Entry(Base):
    __tablename__ = "context_log"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_session_id: Mapped[int]
    role: Mapped[str]
    source: Mapped[str | None]
    message: Mapped[str]
    tx: Mapped[int] = mapped_column(server_default=FetchedValue())
    created_at: Mapped[datetime] = mapped_column(default=now)


class Notification(Base):
    __tablename__ = "user_notifications"

    user_id: Mapped[int] = mapped_column(primary_key=True)
    latest_log_id: Mapped[int]
    last_active: Mapped[datetime]
    tx: Mapped[int] = mapped_column(server_default=FetchedValue())
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Cost(Base):
    __tablename__ = "costs"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    cache_read_tokens: Mapped[int]
    cost: Mapped[int]


class CostDay(Base):
    __tablename__ = "cost_days"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None]
    calls: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    cache_read_tokens: Mapped[int]
    cost: Mapped[int]
