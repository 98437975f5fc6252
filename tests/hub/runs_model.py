"""Runs, their sessions and logs in plain Python: what the databases must agree with, one call at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agentdb.errors import BadInput, Conflict, MissingReference, NotFound

Shown = tuple[Any, ...]


@dataclass
class Session:
    """A session, and its log."""

    user: int
    run: int
    subagent: int
    number: int
    host: int | None
    created_at: datetime
    last_active: datetime
    lines: int = 0
    latest: int | None = None  # of all entries, by their numbers
    is_gone: bool = False

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it is in lists, which go down."""
        return self.run, self.subagent, self.number


@dataclass
class Model:
    """All of it: users, hosts, runs, sessions and entries are known by their numbers."""

    users: list[bool] = field(default_factory=list)  # whether they are there
    hosts: list[bool] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)  # whose
    sessions: list[Session] = field(default_factory=list)
    entries: list[tuple[int, str]] = field(default_factory=list)  # of which session, and what it says
    latest: dict[int, int] = field(default_factory=dict)  # of each user, by their logs

    # Writing

    def start(self, user: int, host: int | None, now: datetime) -> int:
        """Start a run, and return the number of its first session."""
        if not self.users[user]:
            raise MissingReference("no such user", constraint="")
        if host is not None and not self.hosts[host]:
            raise MissingReference("no such host", constraint="")
        self.runs.append(user)
        return self._begin(len(self.runs) - 1, 0, 1, host, now)

    def next_session(self, run: int, subagent: int, host: int | None, now: datetime) -> int:
        """Begin the next session of an agent of a run."""
        if subagent > 0:
            raise BadInput("positive")
        self._check(run, host)
        return self._begin(run, subagent, 1 + self._last(run, subagent), host, now)

    def start_subagent(self, run: int, subagent: int, now: datetime) -> int:
        """Start a subagent that the run has not had."""
        if subagent >= 0:
            raise BadInput("not negative")
        self._check(run, None)
        if self._last(run, subagent):
            raise Conflict("there", constraint="")
        return self._begin(run, subagent, 1, None, now)

    def _check(self, run: int, host: int | None) -> None:
        if run >= len(self.runs) or not self.users[self.runs[run]]:
            raise NotFound("no such run")
        if host is not None and not self.hosts[host]:
            raise MissingReference("no such host", constraint="")

    def _last(self, run: int, subagent: int) -> int:
        return max((one.number for one in self.sessions if (one.run, one.subagent) == (run, subagent)), default=0)

    def _begin(self, run: int, subagent: int, number: int, host: int | None, now: datetime) -> int:
        self.sessions.append(Session(self.runs[run], run, subagent, number, host, now, now))
        return len(self.sessions) - 1

    def append(self, session: int, messages: Sequence[str], now: datetime) -> list[int]:
        """Append to a log, and return the numbers of the entries."""
        if not messages:
            raise BadInput("nothing")
        known = self.sessions[session]
        if known.is_gone:
            raise MissingReference("no such session", constraint="")
        first = len(self.entries)
        self.entries += [(session, message) for message in messages]
        known.lines += sum(1 + message.count("\n") for message in messages)
        known.last_active = now
        self.latest[known.user] = known.latest = len(self.entries) - 1
        return list(range(first, len(self.entries)))

    def remove_user(self, user: int) -> bool:
        """Remove a user with all their runs."""
        was_there, self.users[user] = self.users[user], False
        self.latest.pop(user, None)
        for session in self.sessions:
            session.is_gone = session.is_gone or session.user == user
        return was_there

    def remove_host(self, host: int) -> bool:
        """Remove a host; what ran there stays."""
        was_there, self.hosts[host] = self.hosts[host], False
        for session in self.sessions:
            session.host = None if session.host == host else session.host
        return was_there

    # Reading

    def shown(self, number: int) -> Shown:
        """Return what is stored of a session."""
        one = self.sessions[number]
        return (number, one.user, *one.place, one.host, one.lines, one.latest, one.last_active)

    def there(self) -> Iterator[int]:
        """Yield the sessions that are there, in the order of lists."""
        numbers = [number for number, session in enumerate(self.sessions) if not session.is_gone]
        yield from sorted(numbers, key=lambda number: self.sessions[number].place, reverse=True)

    def listed(self, **asked: Any) -> list[Shown]:
        """Return a list of sessions, by what they have: a run, a user, a host; or from a moment on, before another."""
        since, until = asked.pop("since", None), asked.pop("until", None)
        return [
            self.shown(number)
            for number in self.there()
            if all(getattr(self.sessions[number], name) == value for name, value in asked.items())
            and (since is None or self.sessions[number].created_at >= since)
            and (until is None or self.sessions[number].created_at < until)
        ]

    def newest(self, user: int) -> Shown | None:
        """Return the session the user's main agent began last."""
        return next((shown for shown in self.listed(user=user) if shown[3] == 0), None)

    def log(self, session: int, after: int | None, before: int | None) -> list[tuple[int, str]]:
        """Return the entries of a session between two entries, oldest first."""
        return [
            (number, message)
            for number, (of, message) in enumerate(self.entries)
            if of == session
            and not self.sessions[session].is_gone
            and (after is None or number > after)
            and (before is None or number < before)
        ]
