"""What the hub's sums return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Self


@dataclass(frozen=True, slots=True)
class Spending:
    """What a number of calls cost, in US dollars, and the tokens they took."""

    calls: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class SpendingOf:
    """What one user, model, agent, source or UTC day cost, in US dollars; value None: of none."""

    value: int | str | date | None
    calls: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class BucketOfUser:
    """What one user spent in one bucket, by its place from 1."""

    place: int
    user_id: int | None
    calls: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was spent from one moment up to before another, in US dollars, and by whom."""

    begins_at: datetime
    ends_at: datetime
    calls: int
    cost: Decimal
    by_user: Mapping[int | None, Decimal]

    def with_user(self, user_id: int | None, calls: int, cost: Decimal) -> Self:
        """Return this bucket with a user's part added."""
        return type(self)(
            self.begins_at, self.ends_at, self.calls + calls, self.cost + cost, {**self.by_user, user_id: cost}
        )
