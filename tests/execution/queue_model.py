"""The queue in plain Python: what the databases must agree with, one call at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agentdb.errors import AgentDBError, InvalidTransition, NotFound, StaleVersion

LEASE_ENDED = "the lease of the last attempt ended without a word from its worker"
NEVER = datetime(1, 1, 1, tzinfo=UTC)
COMPARED = (
    "queue",
    "priority",
    "status",
    "attempt",
    "max_attempts",
    "available_at",
    "lease_expires_at",
    "claimed_by",
    "cancel_requested",
    "error",
    "output",
    "started_at",
    "completed_at",
)

Held = tuple[int, int]  # the place of an execution, and the attempt


@dataclass
class Execution:
    """One execution; ``history`` is what a follower of it sees."""

    workflow: int
    user: int
    queue: str
    priority: int
    available_at: datetime
    key: str | None
    max_attempts: int
    status: str = "pending"
    attempt: int = 0
    lease_expires_at: datetime | None = None
    claimed_by: str | None = None
    cancel_requested: bool = False
    error: str | None = None
    output: Any = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    history: list[tuple[str, int]] = field(default_factory=lambda: [("pending", 0)])

    def be(self, status: str, **changes: Any) -> None:
        """Come to a status."""
        for name, value in changes.items():
            setattr(self, name, value)
        if status != self.status:
            self.history.append((status, self.attempt))
        self.status = status


@dataclass
class Model:
    """All of it. Executions that were pruned leave their place empty."""

    now: datetime
    active: list[bool]
    executions: list[Execution | None] = field(default_factory=list)

    def there(self) -> list[tuple[int, Execution]]:
        """Return the executions that are not pruned, with their places."""
        return [(place, one) for place, one in enumerate(self.executions) if one is not None]

    def enqueue(self, one: Execution) -> int | type[AgentDBError]:
        """Return the place of the execution, or of the one with its key."""
        for place, other in self.there():
            if one.key is not None and (other.workflow, other.key) == (one.workflow, one.key):
                return place
        if not self.active[one.workflow]:
            return InvalidTransition
        self.executions.append(one)
        return len(self.executions) - 1

    def claim(self, queue: str, n: int, until: datetime, *, fair: bool = False, most: int | None = None) -> list[Held]:
        """Claim the most urgent, or those of users in turns."""
        own = [(place, one) for place, one in self.there() if one.queue == queue]
        if most is not None:
            n = min(n, most - sum(one.status == "running" for _, one in own))
        waiting = [(place, one) for place, one in own if one.status == "pending" and one.available_at <= self.now]
        waiting.sort(key=lambda pair: (-pair[1].priority, pair[1].available_at, pair[0]))
        if fair and n > 0:
            waiting = _in_turns(waiting, [one for _, one in own], n)
        for _, one in waiting[: max(n, 0)]:
            one.attempt += 1
            one.be("running", claimed_by="w", lease_expires_at=until, started_at=self.now)
        return [(place, one.attempt) for place, one in waiting[: max(n, 0)]]

    def held(self, claim: Held) -> Execution | None:
        """Return the execution that a claim holds; None when it holds none."""
        one = self.executions[claim[0]]
        return one if one is not None and one.status == "running" and one.attempt == claim[1] else None

    def refusal(self, claim: Held) -> type[AgentDBError]:
        """Return what is told to whom a claim does not hold."""
        one = self.executions[claim[0]]
        if one is None:
            return NotFound
        stale = one.attempt != claim[1] or one.status in {"pending", "running"} or one.lease_expires_at is not None
        return StaleVersion if stale else InvalidTransition

    def complete(self, claim: Held, output: Any) -> type[AgentDBError] | None:
        """Finish an execution."""
        one = self.held(claim)
        if one is None:
            return self.refusal(claim)
        one.be("completed", output=output, error=None, lease_expires_at=None, completed_at=self.now)
        return None

    def fail(self, claim: Held, error: str, rest: timedelta, *, retry: bool) -> str | type[AgentDBError]:
        """End an attempt."""
        one = self.held(claim)
        if one is None:
            return self.refusal(claim)
        used_up = not retry or one.attempt >= one.max_attempts
        over = used_up or one.cancel_requested
        one.be(
            "cancelled" if one.cancel_requested else "failed" if used_up else "pending",
            error=error,
            available_at=self.now + rest,
            claimed_by=one.claimed_by if used_up else None,
            lease_expires_at=None,
            completed_at=self.now if over else None,
        )
        return one.status

    def release(self, claim: Held) -> str | type[AgentDBError]:
        """Give an execution back."""
        one = self.held(claim)
        if one is None:
            return self.refusal(claim)
        one.be(
            "cancelled" if one.cancel_requested else "pending",
            max_attempts=one.max_attempts + 1,
            available_at=self.now,
            claimed_by=None,
            lease_expires_at=None,
            completed_at=self.now if one.cancel_requested else None,
        )
        return one.status

    def stop(self, claim: Held) -> type[AgentDBError] | None:
        """Stop because that was asked for."""
        one = self.held(claim)
        if one is None:
            return self.refusal(claim)
        if not one.cancel_requested:
            return InvalidTransition
        one.be("cancelled", lease_expires_at=None, completed_at=self.now)
        return None

    def heartbeat(self, claims: Iterable[Held], until: datetime) -> tuple[list[Held], list[Held], list[Held]]:
        """Return which claims are held, lost, and to be cancelled."""
        found: tuple[list[Held], list[Held], list[Held]] = ([], [], [])
        for claim in claims:
            one = self.held(claim)
            if one is None:
                found[1].append(claim)
                continue
            one.lease_expires_at = until
            found[0].append(claim)
            if one.cancel_requested:
                found[2].append(claim)
        return found

    def cancel(self, place: int) -> str | type[AgentDBError]:
        """Cancel an execution, or ask its worker."""
        one = self.executions[place]
        if one is None:
            return NotFound
        if one.status == "pending":
            one.be("cancelled", completed_at=self.now, cancel_requested=True)
        elif one.status == "running":
            one.cancel_requested = True
        else:
            return InvalidTransition
        return one.status

    def retry(self, place: int, attempts: int) -> type[AgentDBError] | None:
        """Try a failed one again."""
        one = self.executions[place]
        if one is None:
            return NotFound
        if one.status != "failed":
            return InvalidTransition
        one.be(
            "pending",
            max_attempts=max(one.max_attempts, one.attempt + attempts),
            available_at=self.now,
            cancel_requested=False,
            claimed_by=None,
            lease_expires_at=None,
            error=None,
            completed_at=None,
        )
        return None

    def rescue(self) -> set[tuple[int, int, str]]:
        """Take away what is held for too long."""
        found = set()
        for place, one in self.there():
            if one.status != "running" or one.lease_expires_at is None or one.lease_expires_at > self.now:
                continue
            used_up = one.attempt >= one.max_attempts
            ends = used_up or one.cancel_requested
            one.be(
                "cancelled" if one.cancel_requested else "failed" if used_up else "pending",
                error=LEASE_ENDED if used_up else one.error,
                available_at=self.now,
                claimed_by=one.claimed_by if ends else None,
                lease_expires_at=one.lease_expires_at if ends else None,
                completed_at=self.now if ends else None,
            )
            found.add((place, one.attempt, one.status))
        return found

    def prune(self, before: datetime) -> int:
        """Remove what was finished before a moment."""
        gone = [place for place, one in self.there() if one.completed_at is not None and one.completed_at < before]
        for place in gone:
            self.executions[place] = None
        return len(gone)


def _in_turns(waiting: list[tuple[int, Execution]], own: list[Execution], n: int) -> list[tuple[int, Execution]]:
    """Return what users get in turns, whoever was served longest ago first."""

    def served(user: int) -> tuple[datetime, int]:
        return max((one.started_at or NEVER for one in own if one.user == user), default=NEVER), user

    lines = {user: [pair for pair in waiting if pair[1].user == user] for user in {one.user for _, one in waiting}}
    taken: list[tuple[int, Execution]] = []
    users = sorted(lines, key=served)[:n]
    while users and len(taken) < n:
        taken += [lines[user].pop(0) for user in users[: n - len(taken)]]
        users = [user for user in users if lines[user]]
    return taken
