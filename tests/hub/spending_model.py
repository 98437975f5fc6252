"""Spending in plain Python: what the databases must agree with, one call at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from agentdb.hub.ledger.windows import window
from agentdb.hub.models.spending import LimitPeriod

Whose = tuple[int | None, str]  # a user's number, or None for the installation, and what the limit covers


@dataclass
class Cost:
    """An entry of the ledger."""

    user: int | None
    session: int | None
    cost: Decimal
    at: datetime


@dataclass
class Limit:
    """A spend limit."""

    amount: Decimal
    period: LimitPeriod
    every: int
    exempts: bool
    started: datetime
    ends: datetime | None
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    reason: str | None = None
    reset_at: datetime | None = None


@dataclass
class Reservation:
    """Money set aside."""

    user: int
    amount: Decimal
    expires_at: datetime
    shares: list[Whose]
    is_open: bool = True
    is_settled: bool = False


@dataclass
class Model:
    """All of it."""

    now: datetime
    leads: list[int | None] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)  # whose
    costs: list[Cost] = field(default_factory=list)
    limits: dict[Whose, Limit] = field(default_factory=dict)
    reservations: list[Reservation] = field(default_factory=list)

    def above(self, user: int) -> list[int]:
        """Return a user and all who lead the user."""
        lead = self.leads[user]
        return [user] if lead is None else [user, *self.above(lead)]

    def counting(self, user: int | None) -> list[Whose]:
        """Return the limits in which a user's spending counts."""
        keys: list[Whose] = [(None, "self")]
        if user is not None:
            keys += [(user, "self"), *((lead, "tree") for lead in self.above(user))]
        return [key for key in keys if key in self.limits]

    def binding(self, user: int) -> list[Whose]:
        """Return the limits that may refuse a user."""
        exempt = any(key in self.limits and self.limits[key].exempts for key in ((user, "self"), (user, "tree")))
        return [key for key in self.counting(user) if not (exempt and key[0] is None)]

    def current(self, key: Whose) -> Limit:
        """Return a limit in the window that now is in."""
        limit = self.limits[key]
        if limit.ends is not None and limit.ends <= self.now:
            limit.started, limit.ends = window(limit.period, limit.every, "UTC", self.now)
            limit.spent = Decimal(0)
        return limit

    def spend(self, user: int | None, session: int | None, cost: Decimal) -> None:
        """Charge a cost."""
        self.costs.append(Cost(user, session, cost, self.now))
        for key in self.counting(user):
            self.current(key).spent += cost

    def set_limit(self, key: Whose, amount: Decimal, period: LimitPeriod, every: int, *, exempts: bool) -> None:
        """Set a limit; what was spent in its window is counted anew, and a new one holds what is set aside."""
        before = self.limits.get(key)
        started, ends = window(period, every, "UTC", self.now)
        limit = Limit(amount, period, every, exempts, started, ends)
        if before is not None:
            limit.reserved, limit.reset_at = before.reserved, before.reset_at
        self.limits[key] = limit
        if before is None:
            for held in self.reservations:
                if held.is_open and key in self.counting(held.user):
                    limit.reserved += held.amount
                    held.shares.append(key)
        since = max(started, limit.reset_at) if limit.reset_at else started
        limit.spent = sum(
            (cost.cost for cost in self.costs if cost.at >= since and key in self.counting(cost.user)), Decimal(0)
        )

    def remove_limit(self, key: Whose) -> None:
        """Remove a limit: reservations owe it nothing any more."""
        del self.limits[key]
        for reservation in self.reservations:
            reservation.shares = [share for share in reservation.shares if share != key]

    def reset(self, key: Whose) -> None:
        """Begin at nothing."""
        limit = self.limits[key]
        limit.spent, limit.reason, limit.reset_at = Decimal(0), None, self.now

    def reserve(self, user: int, amount: Decimal, ttl: timedelta) -> bool:
        """Set an amount aside, when there is room; overdue reservations make some."""
        for attempt in (1, 2):
            limits = [self.current(key) for key in self.binding(user)]
            if all(limit.spent + limit.reserved + amount <= limit.amount for limit in limits):
                break
            if attempt == 2 or not self.expire():
                return False
        for limit in limits:
            limit.reserved += amount
        self.reservations.append(Reservation(user, amount, self.now + ttl, self.binding(user)))
        return True

    def close(self, reservation: Reservation) -> None:
        """Give back what a reservation took, if it has it still."""
        if reservation.is_open:
            for key in reservation.shares:
                self.current(key).reserved -= reservation.amount
        reservation.is_open = False

    def settle(self, number: int, cost: Decimal) -> None:
        """Charge what a call cost, once."""
        reservation = self.reservations[number]
        if reservation.is_settled:
            return
        self.close(reservation)
        reservation.is_settled = True
        self.spend(reservation.user, None, cost)

    def expire(self) -> int:
        """Give back what is overdue."""
        overdue = [one for one in self.reservations if one.is_open and one.expires_at <= self.now]
        for reservation in overdue:
            self.close(reservation)
        return len(overdue)

    def evaluate(self) -> set[tuple[Whose, bool]]:
        """Suspend and resume, and return what has changed."""
        changes = set()
        for key in self.limits:
            limit = self.limits[key]
            over = limit.ends is not None and limit.ends <= self.now
            reached = (Decimal(0) if over else limit.spent) >= limit.amount
            if reached != (limit.reason is not None):
                self.current(key)
                limit.reason = "reached" if reached else None
                changes.add((key, reached))
        return changes
