"""Runs and their sessions: numbers that never collide and are never used twice."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Table, bindparam, func, select

from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound
from agentdb.hub.models.machines import Run, RunSession
from agentdb.page import Page
from agentdb.repository import Repository

_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]

# Locked, so that sessions of one run are numbered one at a time.
_RUN: Final = Plan[int](select(Run.user_id).where(Run.id == bindparam("run_id")).with_for_update(), name="runs.locked")
_LAST: Final = Plan[int](
    select(func.max(_sessions.c.session_id)).where(
        _sessions.c.user_id == bindparam("user_id"),
        _sessions.c.run_id == bindparam("run_id"),
        _sessions.c.subagent_id == bindparam("subagent_id"),
    ),
    name="runs.last_session",
)
_BY_NUMBERS: Final = Plan[RunSession](
    select(RunSession).where(
        RunSession.user_id == bindparam("user_id"),
        RunSession.run_id == bindparam("run_id"),
        RunSession.subagent_id == bindparam("subagent_id"),
        RunSession.session_id == bindparam("session_id"),
    ),
    name="runs.by_numbers",
    rows=RunSession,
    point=True,
)


class Runs(Repository[RunSession]):
    """Runs of users on hosts. A run is one or more sessions; each subagent of a run has sessions of its own."""

    model = RunSession

    async def start(self, *, user_id: int, model_name: str, host_id: int | None = None) -> RunSession:
        """Start a run, and return its first session.

        Raises: MissingReference for an unknown user or host.
        Cost: one transaction, two inserts. The run's number is the key of its row: of two calls, never the same.
        """
        now = self.connection.now()
        return await self.connection.run(lambda: _start(user_id, model_name, host_id, now))

    async def next_session(
        self, *, run_id: int, model_name: str, subagent_id: int = 0, host_id: int | None = None
    ) -> RunSession:
        """Begin the next session of a run, and return it.

        Args: subagent_id: 0 for the main agent, negative for a subagent, whose first session this may be.
        Raises: NotFound when there is no such run; BadInput for a positive subagent.
        Cost: one transaction of three statements; sessions of one run are numbered one after another.
        """
        if subagent_id > 0:
            raise BadInput(f"a subagent's number is negative, not {subagent_id}; 0 is the main agent")
        now = self.connection.now()
        return await self.connection.run(lambda: _next_session(run_id, subagent_id, model_name, host_id, now))

    async def by_numbers(self, *, user_id: int, run_id: int, session_id: int, subagent_id: int = 0) -> RunSession:
        """Return the session with these four numbers.

        Raises: NotFound.
        """
        numbers = {"user_id": user_id, "run_id": run_id, "subagent_id": subagent_id, "session_id": session_id}
        session = await self.connection.fetch_one(_BY_NUMBERS, numbers)
        if session is None:
            raise NotFound(f"there is no session {session_id} of run {run_id} (user {user_id}, subagent {subagent_id})")
        return session

    async def newest(self, *, user_id: int, limit: int = 50, after: str | None = None) -> Page[RunSession]:
        """Return a user's sessions, newest first."""
        return await self.page(newest_first=True, limit=limit, after=after, user_id=user_id)


def _start(user_id: int, model_name: str, host_id: int | None, now: datetime) -> Script[RunSession]:
    run = yield from one(insert_one(Run), user_id=user_id)
    if run is None:
        raise NotFound("the run was not stored")
    return (yield from _session(user_id, run.id, 0, 1, model_name, host_id, now))


def _next_session(
    run_id: int, subagent_id: int, model_name: str, host_id: int | None, now: datetime
) -> Script[RunSession]:
    user_id = yield from one(_RUN, run_id=run_id)
    if user_id is None:
        raise NotFound(f"there is no run {run_id}")
    last = yield from one(_LAST, user_id=user_id, run_id=run_id, subagent_id=subagent_id)
    return (yield from _session(user_id, run_id, subagent_id, (last or 0) + 1, model_name, host_id, now))


def _session(
    user_id: int, run_id: int, subagent_id: int, number: int, model_name: str, host_id: int | None, now: datetime
) -> Script[RunSession]:
    session: RunSession | None = yield from one(
        insert_one(RunSession),
        user_id=user_id,
        run_id=run_id,
        subagent_id=subagent_id,
        session_id=number,
        host_id=host_id,
        model_name=model_name,
        last_active=now,
    )
    if session is None:
        raise NotFound("the session was not stored")
    return session
