"""Runs and their sessions: numbers that never collide and are never used twice."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, Table, bindparam, func, select

from agentdb.criteria import beyond
from agentdb.engine.asked import whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, Conflict, NotFound
from agentdb.hub.models.machines import Run, RunSession
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of

_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]

# Of every list and its cursors: the newest run first, in it the main agent before its subagents (0, -1, -2), and of
# each the newest session first. No two sessions have the same three numbers, and none of them ever changes.
_ORDER: Final[list[Column[Any]]] = [_sessions.c[key] for key in ("run_id", "subagent_id", "session_id")]
_ASKED: Final = {
    "user_id": _sessions.c.user_id == of(_sessions.c.user_id),
    "host_id": _sessions.c.host_id == of(_sessions.c.host_id),
    "run_id": _sessions.c.run_id == of(_sessions.c.run_id),
    "since": _sessions.c.created_at >= of(_sessions.c.created_at, "since"),
    "until": _sessions.c.created_at < of(_sessions.c.created_at, "until"),
}

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
_LATEST: Final = Plan[RunSession](
    select(RunSession)
    # None is above 0: said so, SQLite too reads the index in order.
    .where(RunSession.user_id == bindparam("user_id"), RunSession.subagent_id >= 0)
    .order_by(*(column.desc() for column in _ORDER))
    .limit(1),
    name="runs.latest",
    rows=RunSession,
    point=True,
)


@cache
def list_plan(asked: frozenset[str], *, after: bool) -> Plan[RunSession]:
    """Return the plan of a list.

    Args:
        asked: what it is of, by the names of `Runs.list`, or one run's.
        after: whether it goes on behind a cursor.
    """
    statement = select(RunSession).where(*(_ASKED[name] for name in sorted(asked)))
    if after:
        statement = statement.where(beyond(_ORDER, newest_first=True))
    statement = statement.order_by(*(column.desc() for column in _ORDER)).limit(bindparam("limit"))
    return Plan(statement, name="runs.list", rows=RunSession)


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
        if whole_number(subagent_id, "subagent_id") > 0:
            raise BadInput(f"a subagent's number is negative, not {subagent_id}; 0 is the main agent")
        now = self.connection.now()
        return await self.connection.run(lambda: _next_session(run_id, subagent_id, model_name, host_id, now))

    async def start_subagent(
        self, parent: RunSession | int, *, subagent_id: int, model_name: str, host_id: int | None = None
    ) -> RunSession:
        """Start a subagent of a run, and return its first session, which has the run's number and user.

        Args:
            parent: any session of the run, or the run's number.
            subagent_id: negative, and new in this run; `next_session` goes on with one that is there.
            model_name: what the subagent runs on.
            host_id: where it runs.

        Raises: NotFound when there is no such run, or its main agent never began; Conflict when the run has this
            subagent already; BadInput for a number that is not negative. Then nothing is written.
        Cost: one transaction of four statements.
        """
        if whole_number(subagent_id, "subagent_id") >= 0:
            raise BadInput(f"a subagent's number is negative, not {subagent_id}; 0 is the main agent")
        run_id = parent.run_id if isinstance(parent, RunSession) else parent
        now = self.connection.now()
        return await self.connection.run(lambda: _start_subagent(run_id, subagent_id, model_name, host_id, now))

    async def by_numbers(self, *, user_id: int, run_id: int, session_id: int, subagent_id: int = 0) -> RunSession:
        """Return the session with these four numbers.

        Raises: NotFound.
        """
        numbers = {"user_id": user_id, "run_id": run_id, "subagent_id": subagent_id, "session_id": session_id}
        session = await self.connection.fetch_one(_BY_NUMBERS, numbers)
        if session is None:
            raise NotFound(f"there is no session {session_id} of run {run_id} (user {user_id}, subagent {subagent_id})")
        return session

    async def latest(self, user_id: int) -> RunSession | None:
        """Return the session the user's main agent began last: of the newest run, the newest; None before the first.

        Cost: one read by uq_run_session__user_id_run_id_subagent_id_session_id; it passes over the subagents of runs
            whose main agent's sessions are gone.
        """
        session: RunSession | None = await self.connection.fetch_one(_LATEST, {"user_id": user_id})
        return session

    async def sessions(self, run_id: int, *, limit: int = 50, after: str | None = None) -> Page[RunSession]:
        """Return the sessions of a run in the order of `list`: the main agent's, then those of -1, of -2, ..."""
        return await self._listed({"run_id": run_id}, limit, after)

    async def list(
        self,
        *,
        user_id: int | None = None,
        host_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[RunSession]:
        """Return sessions: the newest run first, in it the main agent before its subagents, and the newest of each.

        The pages show each session once, whatever becomes of it: nothing they are sorted or chosen by changes.

        Args:
            user_id: only this user's.
            host_id: only those on this host.
            since: only those that began then or later.
            until: only those that began before then.
            limit: how many, from 1; more than the cap is the cap.
            after: the ``next`` of the page before.

        Raises: BadInput for a limit below 1, or a cursor of another list.
        Cost: one read of the user's, the host's or all sessions in the order of their index, as quick at the millionth
            as at the first; it passes over those of another host or time.
        """
        asked = {"user_id": user_id, "host_id": host_id, "since": since, "until": until}
        return await self._listed({name: value for name, value in asked.items() if value is not None}, limit, after)

    async def newest(self, *, user_id: int, limit: int = 50, after: str | None = None) -> Page[RunSession]:
        """Return a user's sessions, as `list`."""
        return await self.list(user_id=whole_number(user_id, "user_id"), limit=limit, after=after)

    async def _listed(self, asked: dict[str, Any], limit: int, after: str | None) -> Page[RunSession]:
        limit = capped(limit, self.most)
        listing = f"runs.list:{sorted(asked)}"
        values = {**asked, "limit": limit + 1}
        if after is not None:
            places = values_of(listing, after, _ORDER)
            values |= {f"after_{place}": value for place, value in enumerate(places)}
        rows = await self.connection.fetch_all(list_plan(frozenset(asked), after=after is not None), values)
        return page_of(rows, limit, listing, [column.key for column in _ORDER])


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


def _start_subagent(
    run_id: int, subagent_id: int, model_name: str, host_id: int | None, now: datetime
) -> Script[RunSession]:
    user_id = yield from one(_RUN, run_id=run_id)
    main = user_id and (yield from one(_LAST, user_id=user_id, run_id=run_id, subagent_id=0))
    if user_id is None or main is None:
        raise NotFound(f"there is no run {run_id} whose main agent began; start() begins one")
    if (yield from one(_LAST, user_id=user_id, run_id=run_id, subagent_id=subagent_id)) is not None:
        raise Conflict(
            f"run {run_id} has subagent {subagent_id} already; next_session() goes on with it",
            constraint="uq_run_session__run_id_subagent_id_session_id",
        )
    return (yield from _session(user_id, run_id, subagent_id, 1, model_name, host_id, now))


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
