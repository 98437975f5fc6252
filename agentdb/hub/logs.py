"""The context log: what runs said and saw, appended with the counters that tell of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from sqlalchemy import bindparam, select

from agentdb.engine.asked import fields, several, whole_number
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, MissingReference
from agentdb.following import Change, Trail, follow
from agentdb.hub.entries import APPEND, ENTRY, FIELDS, append_steps
from agentdb.hub.masking import KnownSecrets, Redact, Redaction
from agentdb.hub.models.machines import ContextLog, RunSession
from agentdb.repository import MOST, Repository, capped


def _window(name: str, *conditions: Any, newest: bool) -> Plan[ContextLog]:
    statement = select(ContextLog).where(ContextLog.run_session_id == bindparam("run_session_id"), *conditions)
    order = ContextLog.id.desc() if newest else ContextLog.id.asc()
    return Plan(statement.order_by(order).limit(bindparam("limit")), name=f"logs.{name}", rows=ContextLog)


_BEHIND: Final = ContextLog.id > bindparam("after")
_AHEAD: Final = ContextLog.id < bindparam("before")
_AFTER: Final = _window("after", _BEHIND, newest=False)
_LATEST: Final = {
    frozenset[str](): _window("latest", newest=True),
    frozenset({"after"}): _window("latest", _BEHIND, newest=True),
    frozenset({"before"}): _window("latest", _AHEAD, newest=True),
    frozenset({"after", "before"}): _window("latest", _BEHIND, _AHEAD, newest=True),
}


class Logs(Repository[ContextLog]):
    """What runs said and saw. Entries are appended, and never change."""

    model = ContextLog

    def __init__(self, connection: Connection, *, most: int = MOST, redact: Redact | None = None) -> None:
        super().__init__(connection, most=most)
        self._redact = redact or Redaction(connection, KnownSecrets()).redact

    async def append(self, session: RunSession | int, entries: Iterable[Mapping[str, Any]]) -> list[ContextLog]:
        """Append entries to a session's log, their secrets masked, all or none, and return them in their order.

        The session's line count and pointer, and its user's, move in the same statement; pointers only move forward.

        Args:
            session: a session of a run, or its id.
            entries: each with ``role`` and ``message``; ``source``, ``type``, ``attachment_id`` and ``host_id`` as
                wanted; where that is absent, it is the given session's own, and none where an id was given.

        Raises: MissingReference when there is no such session, host or attachment; BadInput for an unknown field, or a
            file that was uploaded for mail.
        Cost: one statement (on SQLite, and with attachments, one transaction).
        """
        run_session_id, host_id = _id(session), session.host_id if isinstance(session, RunSession) else None
        now = self.connection.now()
        given = [self._entry(entry, host_id, now) for entry in several(entries, "entries")]
        if not given:
            raise BadInput("no entry to append")
        messages = await self._redact(entry["message"] for entry in given)
        given = [{**entry, "message": message} for entry, message in zip(given, messages, strict=True)]
        lines = sum(entry["message"].count("\n") + 1 for entry in given)
        # A file is looked at before it is attached; that takes a transaction.
        if not self.connection.chains or any(entry.get("attachment_id") is not None for entry in given):
            return await self.connection.run(lambda: append_steps(run_session_id, given, lines, now))
        columns = {column.key: [entry.get(column.key) for entry in given] for column in ENTRY}
        stored = await self.connection.fetch_all(
            APPEND, {**columns, "run_session_id": run_session_id, "lines": lines, "now": now}
        )
        if not stored:
            raise MissingReference(
                f"context_log: no row of run_session for run_session_id '{run_session_id}'; add it first",
                constraint="fk_context_log__run_session_id",
            )
        return stored

    @staticmethod
    def _entry(entry: Mapping[str, Any], host_id: int | None, now: datetime) -> dict[str, Any]:
        fields(entry, FIELDS, "a log entry")
        if not isinstance(entry.get("message"), str):
            raise BadInput("a log entry needs a message, which is text")
        if entry.get("attachment_id") is not None:
            whole_number(entry["attachment_id"], "an attachment's id")
        return {"host_id": host_id, "created_at": now, **entry}

    async def after(self, session: RunSession | int, log_id: int, *, limit: int = 100) -> list[ContextLog]:
        """Return the entries of a session that follow an entry, oldest first.

        Of one session, numbers rise in the order of commits: whoever asks for what follows the last one he has misses
        none. This is not so across sessions: there, `follow`.
        """
        values = {"run_session_id": _id(session), "after": log_id, "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(_AFTER, values)

    async def before(self, session: RunSession | int, log_id: int, *, limit: int = 100) -> list[ContextLog]:
        """Return the entries of a session that precede an entry, newest first."""
        return await self.latest(session, before=log_id, limit=limit)

    async def latest(
        self, session: RunSession | int, *, after: int | None = None, before: int | None = None, limit: int = 100
    ) -> list[ContextLog]:
        """Return the last entries of a session, newest first.

        Args: after, before: numbers of entries; only those between are meant.
        Cost: one read by the index of the session and the number.
        """
        bounds = {name: bound for name, bound in (("after", after), ("before", before)) if bound is not None}
        values = {"run_session_id": _id(session), "limit": capped(limit, self.most), **bounds}
        return await self.connection.fetch_all(_LATEST[frozenset(bounds)], values)

    def follow(
        self, session: RunSession | int | None = None, *, after: str | None = None, poll_seconds: float = 1.0
    ) -> AsyncGenerator[Change[ContextLog], None]:
        """Yield entries as they are committed, each once: ``async for change in logs.follow(): change.row ...``.

        Those of one session come in the order of their numbers; sessions among each other in the order of
        transactions.

        An entry appears once every transaction of the server that began to write before it has ended: see
        `agentdb.following`, also for what happens while the database is away.

        Args:
            session: whose entries; None: everybody's.
            after: the ``cursor`` of the last change that was dealt with, of a follower of the same; None: from the
                beginning; `agentdb.following.NOW`: what is committed after the first step; what `end` gave.
            poll_seconds: how often to look when told nothing.

        Raises: BadInput in a unit, or for a cursor of something else; Unavailable when the database is closed.
        Cost: one read for each 200 entries, by (run_session_id, id) or by (tx, id).
        """
        return follow(self.connection, _trail(session), after=after, poll_seconds=poll_seconds)

    async def end(self, session: RunSession | int | None = None) -> str:
        """Return the cursor behind all entries that are there now: a follower from there gets what comes."""
        trail = _trail(session)
        return trail.cursor(await trail.end(self.connection))

    async def add(self, **_values: Any) -> NoReturn:
        """Refuse: `append` counts an entry and points at it too."""
        raise BadInput(_APPEND_INSTEAD)

    async def add_many(self, _rows: Iterable[Mapping[str, Any]]) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_APPEND_INSTEAD)

    async def update(self, *_key: Any, **_changes: Any) -> NoReturn:
        """Refuse: what was said is not changed."""
        raise BadInput(_APPEND_INSTEAD)

    async def upsert(self, **_values: Any) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_APPEND_INSTEAD)


_EVERYBODYS: Final = Trail(ContextLog, lifted=True)
_APPEND_INSTEAD: Final = "entries of the log are only appended, with their counts and pointers; use logs.append"


def _trail(session: RunSession | int | None) -> Trail[ContextLog]:
    # By number within a session: appends lock it before they draw numbers.
    return _EVERYBODYS if session is None else Trail(ContextLog, ("run_session_id", _id(session)), appended=True)


def _id(session: RunSession | int) -> int:
    return session.id if isinstance(session, RunSession) else whole_number(session, "a session's id")
