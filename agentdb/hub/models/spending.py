"""What was spent, what may be spent, and what is reserved meanwhile."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum, auto
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import Deletes, append_only, partial_index
from agentdb.owners import Owner
from agentdb.types import (
    CASCADE,
    RESTRICT,
    SET_NULL,
    Key,
    Moment,
    Money,
    Name,
    Prose,
    Whole,
    choice,
    flag,
    json,
    money,
    ref,
    whole,
    words,
)


class CostSource(StrEnum):
    """What money was spent on."""

    console = auto()
    write_protection = auto()
    compact = auto()
    lynx = auto()
    look = auto()
    listen = auto()
    genimg = auto()
    websearch = auto()
    chat = auto()
    embedding = auto()
    execution = auto()
    other = auto()


class LimitCovers(StrEnum):
    """Whose spending a limit counts: the user's, or also that of all whom the user leads."""

    self = auto()
    tree = auto()


class LimitPeriod(StrEnum):
    """The unit of a limit's window; none: one window without end."""

    hour = auto()
    day = auto()
    week = auto()
    month = auto()
    none = auto()


class Cost(Entity):
    """A row of the one ledger of spending, whoever charged: never changed, removed by retention only."""

    __tablename__ = "costs"
    __table_args__ = (
        UniqueConstraint("request_id"),
        CheckConstraint(
            "corrects_id IS NOT NULL OR (cost >= 0 AND input_tokens >= 0 AND output_tokens >= 0"
            " AND cache_write_tokens >= 0 AND cache_read_tokens >= 0 AND (quantity IS NULL OR quantity >= 0))",
            name="amounts",
        ),
        # serves what a user spent in a window
        Index(None, "user_id", "created_at"),
        # serves what the installation spent in a window, and retention
        Index(None, "created_at"),
        # serves what a model cost in a window
        Index(None, "model", "created_at"),
        # serves what an agent cost in a window
        Index(None, "agent_id", "created_at"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int | None] = ref("users.id", SET_NULL, index=False)
    run_session_id: Mapped[int | None] = ref("run_session.id", SET_NULL)
    host_id: Mapped[int | None] = ref("hosts.id", SET_NULL)
    agent_id: Mapped[int | None] = ref("agents.id", SET_NULL, index=False)
    model_id: Mapped[int | None] = ref("models.id", SET_NULL)
    model: Mapped[Name]  # the model's key, kept when its row goes
    message_id: Mapped[int | None] = ref("messages.id", SET_NULL)
    execution_id: Mapped[int | None] = ref("executions.id", SET_NULL)
    source: Mapped[CostSource] = choice(CostSource)
    request_id: Mapped[Name | None]  # told twice, charged once
    input_tokens: Mapped[int] = whole(0)
    output_tokens: Mapped[int] = whole(0)
    cache_write_tokens: Mapped[int] = whole(0)
    cache_read_tokens: Mapped[int] = whole(0)
    unit: Mapped[Name | None]  # of quantity, where it is not tokens
    quantity: Mapped[Whole | None]
    cost: Mapped[Decimal] = money()
    corrects_id: Mapped[int | None] = ref("costs.id", RESTRICT)  # this row adds to that one, and may be negative


append_only(Entity.metadata.tables["costs"], Deletes.RETENTION)


class SpendLimit(Mutable, Entity):
    """What may be spent in a window, and what has been.

    What is left is ``amount - spent - reserved``.
    """

    __tablename__ = "spend_limits"
    __table_args__ = (
        UniqueConstraint("user_id", "covers"),
        CheckConstraint("amount >= 0", name="amount"),
        CheckConstraint("every >= 1", name="every"),
        # An installation has no tree: with a second word there could be a second limit.
        CheckConstraint("user_id IS NOT NULL OR covers = 'self'", name="installation"),
        # serves the one limit of the installation
        partial_index("uq_spend_limits__covers", "covers", where="user_id IS NULL", unique=True),
    )
    __owner__ = Owner.first_of(Owner.by("user_id"), Owner.installation)

    id: Mapped[Key]
    user_id: Mapped[int | None] = ref("users.id", CASCADE, index=False)  # None: the whole installation
    covers: Mapped[LimitCovers] = choice(LimitCovers, LimitCovers.self)
    amount: Mapped[Money]
    period: Mapped[LimitPeriod] = choice(LimitPeriod)
    every: Mapped[int] = whole(1, 32)  # six hours are the period hour, every 6
    timezone: Mapped[str] = words("UTC")
    window_started_at: Mapped[Moment]
    window_ends_at: Mapped[Moment | None]  # from then on, spent counts as nothing; None: never
    spent: Mapped[Decimal] = money()
    reserved: Mapped[Decimal] = money()  # survives a new window; charged to the one in which it is settled
    suspended_reason: Mapped[Prose | None]
    reset_at: Mapped[Moment | None]
    exempts_from_installation: Mapped[bool] = flag(False)


class CostReservation(Mutable, Entity):
    """Money set aside for a call whose cost is not known yet."""

    __tablename__ = "cost_reservations"
    __table_args__ = (
        UniqueConstraint("request_id"),
        # serves giving back what was never settled
        partial_index("ix_cost_reservations__open", "expires_at", where="settled_at IS NULL"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int | None] = ref("users.id", SET_NULL)  # what it took of others' limits outlives the user
    amount: Mapped[Money]
    request_id: Mapped[Name | None]
    expires_at: Mapped[Moment]
    settled_at: Mapped[Moment | None]  # or given back: then it became no cost
    cost_id: Mapped[Whole | None]  # the row of the ledger it became, which retention may have folded since
    # It counts in these, and exactly these get it back. One that was removed since is owed nothing; no id comes twice.
    limit_ids: Mapped[Any] = json(list)


class CostDay(Mutable, Entity):
    """What retention folded out of the ledger, for one UTC day.

    Rows whose user or agent is gone may repeat: a reference that becomes null must not collide. Sums do not mind.
    """

    __tablename__ = "cost_days"
    __table_args__ = (
        # serves sums over days, and the row a cost is folded into
        UniqueConstraint("day", "user_id", "model", "source", "agent_id"),
    )
    __owner__ = Owner.nobody

    id: Mapped[Key]
    day: Mapped[Moment]  # its midnight
    user_id: Mapped[int | None] = ref("users.id", SET_NULL)
    model: Mapped[Name]
    source: Mapped[CostSource] = choice(CostSource)
    agent_id: Mapped[int | None] = ref("agents.id", SET_NULL)
    calls: Mapped[int] = whole(0)  # how many rows were folded
    input_tokens: Mapped[int] = whole(0)
    output_tokens: Mapped[int] = whole(0)
    cache_write_tokens: Mapped[int] = whole(0)
    cache_read_tokens: Mapped[int] = whole(0)
    cost: Mapped[Decimal] = money()
