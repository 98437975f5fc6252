"""What reports return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """How many rows of each kind there are, deleted conversations included."""

    users: int
    runs: int
    conversations: int
    messages: int
    log_entries: int


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How often assistants called a tool."""

    tool: str
    calls: int


@dataclass(frozen=True, slots=True)
class UserSpending:
    """What one user's calls cost, in US dollars; without a username, those of nobody or of users that are gone."""

    username: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class ModelSpending:
    """What calls of one model cost, in US dollars."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class DailySpending:
    """What calls cost on one UTC day, in US dollars."""

    day: date
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
