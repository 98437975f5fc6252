"""Runs and their sessions: a run has another number here, which a mark keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, select

from agentdb.criteria import table_of
from agentdb.engine.connection import Script, each
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import BadInput
from agentdb.hub.models.machines import Run, RunSession
from agentdb.importing.naisys.marks import Marks, turn
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import maybe, moment, name
from agentdb.importing.naisys.work import Importing

_RUN: Final = "runs"
_sessions: Final[Table] = table_of(RunSession)
_SESSIONS: Final = Plan[RunSession](
    select(RunSession).where(among(_sessions.c.run_id, "runs")), name="import: sessions", rows=RunSession
)
Place = tuple[int, int, int, int]


def place(row: Row) -> Place:
    """Return a session's key in the source."""
    return row["user_id"], row["run_id"], row["subagent_id"], row["session_id"]


async def import_runs(work: Importing) -> None:
    """Bring sessions, and the runs they are of: their lines and costs are counted when those come."""
    for detail in await work.marks.all(work.connection, _RUN):
        work.runs.update(_numbers(detail))
    total, done = await work.hub.count("run_session"), 0
    async for rows in work.hub.pages("run_session", 4):
        sessions = work.carried("run_session", rows, _checked, "run_id")
        sessions = [row for row in sessions if row["user_id"] in work.users]
        known, made, imported = await work.write(partial(_store, work, sessions))
        work.runs.update(known)
        work.report.stored(_RUN, made)
        work.report.stored("run_session", imported, len(sessions) - imported)
        done += len(rows)
        work.progress("run_session", done, total)


async def sessions_of(work: Importing, rows: Sequence[Row]) -> dict[Place, RunSession]:
    """Return the sessions that rows of the source are of."""
    wanted = {(row["user_id"], row["run_id"]) for row in rows}
    there = {work.runs[run]: run for run in wanted if run in work.runs}
    found = await work.connection.fetch_all(_SESSIONS, {"runs": sorted(there)})
    return {(*there[session.run_id], session.subagent_id, session.session_id): session for session in found}


def _checked(row: Row) -> Row:
    if row["subagent_id"] > 0:
        raise BadInput(f"subagent {row['subagent_id']} of session {row['session_id']} has no negative number")
    created = moment(row["created_at"])
    return {
        **row,
        "created_at": created,
        "last_active": moment(row["last_active"]),
        "updated_at": maybe(moment, row["updated_at"]) or created,
    }


def _store(work: Importing, sessions: Sequence[Row]) -> Script[tuple[dict[tuple[int, int], int], int, int]]:
    yield from turn()
    known = dict(work.runs)
    # Another import may have brought some meanwhile.
    if any((row["user_id"], row["run_id"]) not in known for row in sessions):
        known = yield from _known(work.marks)
    new: dict[tuple[int, int], Row] = {}
    for row in sessions:
        run = row["user_id"], row["run_id"]
        if run not in known and (run not in new or row["created_at"] < new[run]["created_at"]):
            new[run] = row
    made = yield from each(
        insert_one(Run),
        [{"user_id": work.users[run[0]], "created_at": row["created_at"]} for run, row in new.items()],
    )
    numbers = {run: stored.id for run, stored in zip(new, made, strict=True) if stored is not None}
    if numbers:
        runs = [[user_id, run_id, number] for (user_id, run_id), number in numbers.items()]
        yield from work.marks.mark(_RUN, {"runs": runs})
    known |= numbers
    stored = yield from each(
        insert_unless_there(RunSession, ("run_id", "subagent_id", "session_id")),
        [_session(work, row, known[row["user_id"], row["run_id"]]) for row in sessions],
    )
    return known, len(numbers), sum(1 for session in stored if session is not None)


def _session(work: Importing, row: Row, run_id: int) -> dict[str, Any]:
    return {
        "user_id": work.users[row["user_id"]],
        "run_id": run_id,
        "subagent_id": row["subagent_id"],
        "session_id": row["session_id"],
        "host_id": work.hosts.get(row["host_id"]),
        "last_active": row["last_active"],
        "model_name": name(row["model_name"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _known(marks: Marks) -> Script[dict[tuple[int, int], int]]:
    known: dict[tuple[int, int], int] = {}
    for detail in (yield from marks.every(_RUN)):
        known.update(_numbers(detail))
    return known


def _numbers(detail: Mapping[str, Any]) -> dict[tuple[int, int], int]:
    return {(user_id, run_id): number for user_id, run_id, number in detail.get("runs", ())}
