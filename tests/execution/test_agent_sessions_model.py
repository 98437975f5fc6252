"""Agents' sessions on both databases, in lock-step with a model in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, rule

from agentdb.database import Database
from agentdb.errors import InvalidTransition, StaleVersion
from agentdb.execution.models import AgentSession
from agentdb.testing.postgresql import PostgreSQLServer
from tests.execution.sessions import ALLOWED, MOVES
from tests.hub.lockstep import BEGIN, Ids, Lockstep, run

PICK = st.integers(0, 10_000)
NAMES = st.sampled_from(["a", "b", "ä", "a.b"])
SMALL = st.none() | st.booleans() | st.integers(-3, 3) | st.text("xé\"'", max_size=2) | st.just([None, {"a": None}])
PATCHES = st.dictionaries(NAMES, SMALL | st.dictionaries(NAMES, SMALL | st.dictionaries(NAMES, SMALL)), max_size=3)
TOOLS = st.lists(st.sampled_from(["web", "Web", "zsh", "ä"]), max_size=3)


def merged(target: Any, patch: Any) -> Any:
    """Return what RFC 7396 says."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@dataclass
class Session:
    """What a session is, by the rules."""

    user: int
    last_active_at: datetime
    status: str = "running"
    version: int = 1
    completed_at: datetime | None = None
    checkpoints: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    variables: Any = field(default_factory=dict)
    context: Any = field(default_factory=dict)
    messages: int = 0
    tools: set[str] = field(default_factory=set)

    @property
    def is_live(self) -> bool:
        return self.status in {"running", "paused"}

    def move(self, to: str, now: datetime, expected: int | None) -> None:
        if expected not in {None, self.version}:
            raise StaleVersion("stale")
        if (self.status, to) not in ALLOWED:
            raise InvalidTransition("not from there")
        self.touch(now, live=False)
        self.status, self.version = to, self.version + 1
        self.completed_at = now if to in {"completed", "failed"} else None

    def touch(self, now: datetime, *, live: bool = True) -> None:
        if live and not self.is_live:
            raise InvalidTransition("ended")
        self.last_active_at = max(self.last_active_at, now)


class Working(Lockstep):
    """Two users' sessions with two agents."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.users: list[Ids] = []
        self.keys: list[Ids] = []
        self.sessions: list[Session] = []

    @initialize()
    def begin(self) -> None:
        self.users = [
            self.ids(lambda db, _side, name=name: db.supervisor.users.create(name))  # type: ignore[misc]
            for name in ("ada", "bob")
        ]
        self.agent = self.ids(lambda db, _side: db.catalog.agents.create("worker"))
        for user in (0, 1, 0):
            self.start(user, {"a": {"b": 1}})

    @rule(user=st.integers(0, 1), variables=PATCHES)
    def start(self, user: int, variables: dict[str, Any]) -> None:
        self.keys.append(
            self.ids(
                lambda db, side: db.execution.agent_sessions.start(
                    user_id=self.users[user][side], agent_id=self.agent[side], variables=variables
                )
            )
        )
        self.sessions.append(Session(user, self.now, variables=variables))

    def picked(self, pick: int) -> tuple[Ids, Session]:
        """Return a session, a few minutes after what happened last, or before it: clocks differ."""
        self.wait((0, 3, -2)[pick % 3])
        place = pick % len(self.sessions)
        return self.keys[place], self.sessions[place]

    @rule(pick=PICK, to=st.sampled_from(sorted(MOVES)), expected=st.none() | st.sampled_from([0, 0, -1]))
    def move(self, pick: int, to: str, expected: int | None) -> None:
        key, session = self.picked(pick)
        version = None if expected is None else session.version + expected

        async def changed(db: Database, side: int) -> str:
            sessions, how = db.execution.agent_sessions, {"expected_version": version}
            if to == "failed":
                return (await sessions.fail(key[side], "it broke", **how)).status
            verb = {"running": sessions.resume, "paused": sessions.pause, "completed": sessions.complete}[to]
            return (await verb(key[side], checkpoint={"to": to}, **how)).status

        def wanted() -> str:
            session.move(to, self.now, version)
            (session.errors if to == "failed" else session.checkpoints).append("it broke" if to == "failed" else to)
            return to

        self.agree(changed, wanted)

    @rule(pick=PICK, state=SMALL)
    def checkpoint(self, pick: int, state: Any) -> None:
        key, session = self.picked(pick)

        def wanted() -> int:
            session.touch(self.now)
            session.checkpoints.append(state)
            return len(session.checkpoints)

        self.agree(lambda db, side: db.execution.agent_sessions.checkpoint(key[side], state), wanted)

    @rule(pick=PICK, variables=PATCHES, context=PATCHES)
    def patch(self, pick: int, variables: dict[str, Any], context: dict[str, Any]) -> None:
        key, session = self.picked(pick)

        async def patched(db: Database, side: int) -> Any:
            row = await db.execution.agent_sessions.patch(key[side], variables=variables, context=context)
            return row.variables, row.context

        def wanted() -> Any:
            session.touch(self.now)
            session.variables = merged(session.variables, variables)
            session.context = merged(session.context, context)
            return session.variables, session.context

        self.agree(patched, wanted)

    @rule(pick=PICK, messages=st.integers(0, 3), tools=TOOLS)
    def record(self, pick: int, messages: int, tools: list[str]) -> None:
        key, session = self.picked(pick)

        async def counted(db: Database, side: int) -> Any:
            row = await db.execution.agent_sessions.record(key[side], messages=messages, tools=tools)
            return row.messages_count, row.tools_used

        def wanted() -> Any:
            session.touch(self.now)
            session.messages += messages
            session.tools |= set(tools)
            return session.messages, sorted(session.tools)

        self.agree(counted, wanted)

    @rule(minutes=st.sampled_from([1, 3]), limit=st.sampled_from([1, 1, 50]))
    def expire(self, minutes: int, limit: int) -> None:
        before = self.now - timedelta(minutes=minutes)

        def wanted() -> int:
            silent = [
                (session.last_active_at, place)
                for place, session in enumerate(self.sessions)
                if session.is_live and session.last_active_at < before
            ]
            for _, place in sorted(silent)[:limit]:
                session = self.sessions[place]
                session.status, session.version, session.completed_at = "failed", session.version + 1, self.now
                session.errors.append(f"nothing happened for {60 * minutes} seconds")
            return min(limit, len(silent))

        self.agree(lambda db, _side: db.execution.agent_sessions.expire(60 * minutes, limit=limit), wanted)

    @rule(minutes=st.sampled_from([10, 30]))
    def wait(self, minutes: int) -> None:
        self.forward(timedelta(minutes=minutes))
        self.now += timedelta(minutes=minutes)

    @invariant()
    def lists_are_alike(self) -> None:
        for user in range(len(self.users)):
            for statuses in ((), ("running", "paused"), ("failed",)):
                self.agree(
                    lambda db, side, user=user, statuses=statuses: self.listed(db, side, user, statuses),  # type: ignore[misc]
                    lambda user=user, statuses=statuses: [  # type: ignore[misc]
                        shown(session) for session in self.wanted(user, statuses)
                    ],
                )

    def wanted(self, user: int, statuses: tuple[str, ...]) -> list[Session]:
        mine = [
            (session.last_active_at, place)
            for place, session in enumerate(self.sessions)
            if session.user == user and (not statuses or session.status in statuses)
        ]
        return [self.sessions[place] for _, place in sorted(mine, reverse=True)]

    async def listed(self, db: Database, side: int, user: int, statuses: tuple[str, ...]) -> list[Any]:
        sessions, key = db.execution.agent_sessions, self.users[user][side]
        page = await sessions.of_user(key, statuses=statuses, limit=2)
        items = list(page.items)
        while page.next is not None:
            page = await sessions.of_user(key, statuses=statuses, limit=2, after=page.next)
            items += page.items
        return [told(row) for row in items]


def shown(session: Session) -> Any:
    return (
        session.status,
        session.version,
        session.last_active_at,
        session.completed_at,
        session.checkpoints,
        session.errors,
        session.variables,
        session.context,
        session.messages,
        sorted(session.tools),
    )


def told(row: AgentSession) -> Any:
    states = [one["state"] for one in row.checkpoints]
    return (
        row.status,
        row.version,
        row.last_active_at,
        row.completed_at,
        [state["to"] if isinstance(state, dict) else state for state in states],
        [one["error"] for one in row.error_logs],
        row.variables,
        row.context,
        row.messages_count,
        row.tools_used,
    )


@pytest.mark.long
def test_both_databases_agree_with_the_model(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Working, agentdb_template, agentdb_postgresql_server, examples=6, steps=24)
