"""Log entries: each batch is counted in its sessions as it is stored. What is secret by now is masked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, bindparam, case, select, update

from agentdb.criteria import table_of
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among, greater_of, writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput
from agentdb.hub.models.machines import ContextLog, LogRole, LogSource, LogType, RunSession
from agentdb.importing.naisys.runs import place, sessions_of
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import moment, text, word
from agentdb.importing.naisys.work import Importing

_ROLES: Final = {"NAISYS": LogRole.platform, "LLM": LogRole.llm}
_SOURCES: Final = {"startPrompt": LogSource.start_prompt, "endPrompt": LogSource.end_prompt}
_TYPES: Final = {"workspace": LogType.tool}  # as it was called before

_sessions: Final[Table] = table_of(RunSession)
# Locked before ids are drawn, in the order of their ids: whoever reads "after" an id never misses a smaller one.
_LOCK: Final = Plan[int](
    select(_sessions.c.id).where(among(_sessions.c.id, "ids")).order_by(_sessions.c.id).with_for_update(),
    name="import: lock sessions",
)
_active: Final = of(_sessions.c.last_active, "active")
_COUNT: Final = Plan[int](
    update(_sessions)
    .where(_sessions.c.id == of(_sessions.c.id, "session"))
    .values(
        total_lines=_sessions.c.total_lines + bindparam("lines", type_=WholeType()),
        latest_log_id=greater_of(_sessions.c.latest_log_id, of(_sessions.c.latest_log_id, "latest")),
        latest_tx=greater_of(_sessions.c.latest_tx, writing_transaction()),
        last_active=case((_sessions.c.last_active < _active, _active), else_=_sessions.c.last_active),
        updated_at=_sessions.c.updated_at,
    )
    .returning(_sessions.c.id),
    name="import: count lines",
)


@dataclass(slots=True)
class _Said:
    lines: int = 0
    latest: int = 0
    moments: list[datetime] = field(default_factory=list)


async def import_logs(work: Importing) -> None:
    """Bring the entries of all sessions."""

    async def batch(rows: list[Row]) -> list[dict[str, Any]]:
        sessions = await sessions_of(work, rows)

        def convert(row: Row) -> dict[str, Any]:
            session = sessions.get(place(row))
            if session is None:
                raise BadInput("its session is not there")
            return {
                "run_session_id": session.id,
                "host_id": work.hosts.get(row["host_id"]),
                "role": word(LogRole, row["role"], _ROLES),
                "source": None if row["source"] is None else word(LogSource, row["source"], _SOURCES),
                "type": None if row["type"] is None else word(LogType, row["type"], _TYPES),
                "message": text(row["message"]),
                "attachment_id": work.attachments.get(row["attachment_id"]),
                "created_at": moment(row["created_at"]),
            }

        entries = work.carried("context_log", rows, convert)
        masked = await work.database.hub.redaction.redact(entry["message"] for entry in entries)
        return [{**entry, "message": message} for entry, message in zip(entries, masked, strict=True)]

    work.report.stored("context_log", sum(await work.follow("context_log", batch, _store)))


def _store(entries: Sequence[dict[str, Any]]) -> Script[int]:
    said: defaultdict[int, _Said] = defaultdict(_Said)
    yield from every(_LOCK, ids=sorted({entry["run_session_id"] for entry in entries}))
    stored = yield from each(insert_one(ContextLog), entries)
    for entry, log in zip(entries, stored, strict=True):
        session = said[entry["run_session_id"]]
        session.lines += entry["message"].count("\n") + 1
        session.latest = max(session.latest, 0 if log is None else log.id)
        session.moments.append(entry["created_at"])
    yield from each(
        _COUNT,
        [
            {"session": key, "lines": one.lines, "latest": one.latest, "active": max(one.moments)}
            for key, one in sorted(said.items())
        ],
    )
    return len(entries)
