"""Runs, sessions, subagents and logs on both databases, in lock-step with a model in plain Python."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from agentdb.database import Database
from agentdb.models import ContextLog, RunSession
from agentdb.page import Page
from agentdb.testing.postgresql import PostgreSQLServer
from tests.hub.lockstep import BEGIN, Ids, Lockstep, run
from tests.hub.runs_model import Model

PICK = st.integers(0, 10_000)
USER = st.integers(0, 3)
HOST = st.none() | st.integers(0, 1)
TEXT = st.sampled_from(["", "a", "a\nb", "a\nb\nc", "\n", "é\n"])


class Runs(Lockstep):
    """Four users on two hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.users: list[Ids] = []
        self.hosts: list[Ids] = []
        self.runs: list[Ids] = []
        self.sessions: list[Ids] = []
        self.entries: list[Ids] = []
        self.turn = 0

    @property
    def now(self) -> datetime:
        return BEGIN + timedelta(minutes=self.turn)

    @initialize()
    def begin(self) -> None:
        for number in range(4):
            self.users.append(self.ids(lambda db, _side, n=number: db.supervisor.users.create(f"user-{n}")))  # type: ignore[misc]
        for number in range(2):
            self.hosts.append(self.ids(lambda db, _side, n=number: db.hub.hosts.create(f"host-{n}")))  # type: ignore[misc]
        self.model.users, self.model.hosts = [True] * 4, [True] * 2

    def host(self, host: int | None, side: int) -> int | None:
        return None if host is None else self.hosts[host][side]

    def run(self, run: int, side: int) -> int:
        return self.runs[run][side] if run < len(self.runs) else 987_654

    # Writing

    @rule(user=USER, host=HOST)
    def start(self, user: int, host: int | None) -> None:
        answers, number = self.told(
            lambda db, side: db.hub.runs.start(
                user_id=self.users[user][side], host_id=self.host(host, side), model_name="m"
            ),
            lambda: self.model.start(user, host, self.now),
        )
        if number is not None:
            self.runs.append(tuple(answer.run_id for answer in answers))
            self.sessions.append(tuple(answer.id for answer in answers))

    @rule(pick=PICK, subagent=st.integers(-2, 1), host=HOST)
    def go_on(self, pick: int, subagent: int, host: int | None) -> None:
        run = pick % (len(self.runs) + 1)  # one that there is not, too
        answers, number = self.told(
            lambda db, side: db.hub.runs.next_session(
                run_id=self.run(run, side), subagent_id=subagent, host_id=self.host(host, side), model_name="m"
            ),
            lambda: self.model.next_session(run, subagent, host, self.now),
        )
        if number is not None:
            self.sessions.append(tuple(answer.id for answer in answers))

    @rule(pick=PICK, subagent=st.integers(-3, 0))
    def start_subagent(self, pick: int, subagent: int) -> None:
        run = pick % (len(self.runs) + 1)
        answers, number = self.told(
            lambda db, side: db.hub.runs.start_subagent(self.run(run, side), subagent_id=subagent, model_name="m"),
            lambda: self.model.start_subagent(run, subagent, self.now),
        )
        if number is not None:
            self.sessions.append(tuple(answer.id for answer in answers))

    @precondition(lambda self: self.sessions)
    @rule(pick=PICK, messages=st.lists(TEXT, max_size=3))
    def append(self, pick: int, messages: list[str]) -> None:
        session = pick % len(self.sessions)
        answers, numbers = self.told(
            lambda db, side: db.hub.logs.append(
                self.sessions[session][side], [{"role": "llm", "message": message} for message in messages]
            ),
            lambda: self.model.append(session, messages, self.now),
        )
        if numbers is not None:
            assert [[entry.message for entry in answer] for answer in answers] == [messages, messages]
            self.entries += zip(*([entry.id for entry in answer] for answer in answers), strict=True)

    @precondition(lambda self: self.turn % 6 == 0)
    @rule(user=st.integers(2, 3), host=st.booleans())
    def remove(self, user: int, *, host: bool) -> None:
        if host:
            self.agree(lambda db, side: db.hub.hosts.remove(self.hosts[1][side]), lambda: self.model.remove_host(1))
        else:
            self.agree(
                lambda db, side: db.supervisor.users.remove(self.users[user][side]),
                lambda: self.model.remove_user(user),
            )

    # Reading

    def agree_on(self, call: Callable[[Database, int], Awaitable[Any]], model: Callable[[], Any]) -> None:
        """Assert that what is shown is the same, whatever its numbers are on each database."""
        answers, wanted = self.told(call, model)
        for side, answer in enumerate(answers):
            shown = answer.items if isinstance(answer, Page) else answer
            assert (
                [self.shown(one, side) for one in shown] if isinstance(shown, list) else self.shown(shown, side)
            ) == (wanted), side

    def shown(self, one: Any, side: int) -> Any:
        """Return what is shown, by the model's numbers."""
        sessions, entries = self.known(self.sessions, side), self.known(self.entries, side)
        match one:
            case RunSession():
                numbers = (one.subagent_id, one.session_id, self.known(self.hosts, side).get(one.host_id))
                run = self.known(self.runs, side)[one.run_id]
                state = (one.total_lines, entries.get(one.latest_log_id), one.last_active)
                return (sessions[one.id], self.known(self.users, side)[one.user_id], run, *numbers, *state)
            case ContextLog():
                return (entries[one.id], one.message)
        return one

    @staticmethod
    def known(ids: list[Ids], side: int) -> dict[int | None, int]:
        return {each[side]: number for number, each in enumerate(ids)}

    async def walked(self, db: Database, **asked: Any) -> list[RunSession]:
        """Return a list, read in pages of three."""
        sessions: list[RunSession] = []
        after = None
        while True:
            page = await db.hub.runs.list(**asked, limit=3, after=after)
            sessions += page.items
            if (after := page.next) is None:
                return sessions

    @invariant()
    def everything_is_stored_alike(self) -> None:
        self.turn += 1
        self.forward(timedelta(minutes=1))
        self.agree_on(lambda db, _side: self.walked(db), self.model.listed)
        self.agree(self.pointers, lambda: self.model.latest)
        self.agree(lambda db, _side: db.hub.logs.count(), lambda: len(self.model_entries()))

    def model_entries(self) -> list[int]:
        return [of for of, _ in self.model.entries if not self.model.sessions[of].is_gone]

    async def pointers(self, db: Database, side: int) -> dict[int, int]:
        rows = await db.hub.notifications.of(ids[side] for ids in self.users)
        users, entries = self.known(self.users, side), self.known(self.entries, side)
        return {users[row.user_id]: entries[row.latest_log_id] for row in rows}

    @rule(user=USER, host=st.integers(0, 1), minutes=st.integers(0, 30))
    def look_at_lists(self, user: int, host: int, minutes: int) -> None:
        model, moment = self.model, BEGIN + timedelta(minutes=minutes)
        self.agree_on(lambda db, side: self.walked(db, user_id=self.users[user][side]), lambda: model.listed(user=user))
        self.agree_on(
            lambda db, side: self.walked(db, host_id=self.hosts[host][side], since=moment),
            lambda: model.listed(host=host, since=moment),
        )
        self.agree_on(lambda db, _side: self.walked(db, until=moment), lambda: model.listed(until=moment))
        self.agree_on(lambda db, side: db.hub.runs.latest(self.users[user][side]), lambda: model.newest(user))

    @precondition(lambda self: self.entries)
    @rule(pick=PICK, place=PICK, limit=st.integers(1, 5))
    def look_at_a_log(self, pick: int, place: int, limit: int) -> None:
        session, model, at = pick % len(self.sessions), self.model, place % len(self.entries)
        run = model.sessions[session].run
        self.agree_on(
            lambda db, side: db.hub.logs.latest(self.sessions[session][side], limit=limit),
            lambda: model.log(session, None, None)[::-1][:limit],
        )
        self.agree_on(
            lambda db, side: db.hub.logs.after(self.sessions[session][side], self.entries[at][side], limit=limit),
            lambda: model.log(session, at, None)[:limit],
        )
        self.agree_on(
            lambda db, side: db.hub.logs.latest(
                self.sessions[session][side], after=self.entries[at // 2][side], before=self.entries[at][side]
            ),
            lambda: model.log(session, at // 2, at)[::-1],
        )
        self.agree_on(lambda db, side: db.hub.runs.sessions(self.runs[run][side]), lambda: model.listed(run=run))


def test_both_databases_agree_with_the_model(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Runs, agentdb_template, agentdb_postgresql_server, examples=8, steps=30)


@pytest.mark.long
def test_both_databases_agree_with_the_model_for_long(
    agentdb_template: Path, agentdb_postgresql_server: PostgreSQLServer
) -> None:
    run(Runs, agentdb_template, agentdb_postgresql_server, examples=40, steps=80)
