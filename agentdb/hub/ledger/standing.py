"""How a limit stands, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from agentdb.hub.ledger.applied import Applied
from agentdb.hub.models.spending import LimitCovers


@dataclass(frozen=True, slots=True)
class Standing:
    """How a limit stands at a moment, in US dollars."""

    limit_id: int
    user_id: int | None  # None: the installation's
    covers: LimitCovers
    amount: Decimal
    spent: Decimal  # in the present window
    reserved: Decimal
    window_started_at: datetime
    window_ends_at: datetime | None
    suspended_reason: str | None

    @property
    def remaining(self) -> Decimal:
        """What may still be spent; never below zero."""
        return max(Decimal(0), self.amount - max(self.spent, Decimal(0)) - self.reserved)

    @property
    def is_beyond(self) -> bool:
        """Whether more is spent or reserved than the amount: a call cost more than thought, or the limit was cut."""
        return self.spent + self.reserved > self.amount


def standing_of(limit: Applied) -> Standing:
    """Return how a limit stands; whose cause is gone suspends nobody, even before that is stored."""
    return Standing(
        limit.id,
        limit.user_id,
        limit.covers,
        limit.amount,
        limit.spent,
        limit.reserved,
        limit.window_started_at,
        limit.window_ends_at,
        limit.suspended_reason if limit.spent >= limit.amount else None,
    )


def dollars(amount: Decimal) -> str:
    """Return an amount without the zeros behind it: ``1``, ``0.5``."""
    return f"{amount.normalize():f}"


def whose(limit: Applied) -> str:
    """Return whom a limit binds."""
    if limit.user_id is None:
        return "the installation"
    team = " and all led by them" if limit.covers is LimitCovers.tree else ""
    return f"user {limit.user_id}{team}"


def suspended(limit: Applied) -> str:
    """Return why who spends under this limit is suspended."""
    current = f"{limit.spent:.2f}"
    if limit.user_id is None:
        return f"Global spend limit of ${dollars(limit.amount)} reached (total: ${current})"
    if limit.covers is LimitCovers.tree:
        return f"Team spend limit of ${dollars(limit.amount)} reached (total: ${current})"
    return f"Spend limit of ${dollars(limit.amount)} reached (current: ${current})"


def resumed(limit: Applied) -> str:
    """Return why they are not any more."""
    current, amount = f"{limit.spent:.2f}", dollars(limit.amount)
    if limit.user_id is None:
        return f"Global spend limit period reset (total: ${current}, limit: ${amount})"
    if limit.covers is LimitCovers.tree:
        return f"Team spend limit period reset (total: ${current}, limit: ${amount})"
    return f"Spend limit period reset (current: ${current}, limit: ${amount})"
