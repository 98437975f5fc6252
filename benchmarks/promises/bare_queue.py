"""The statements of the queue on the bare drivers: claim one, complete one, and decode what was claimed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import asyncpg

from benchmarks.adapter import Place
from benchmarks.bare_sqlite import PRAGMAS

_LEASE: Final = timedelta(seconds=60)


@dataclass(slots=True)
class ExecutionRow:
    id: int
    uuid: uuid.UUID
    workflow_id: int
    user_id: int
    agent_id: int | None
    status: str
    input: Any
    output: Any
    error: str | None
    metadata: Any
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    available_at: datetime
    claimed_by: str | None
    lease_expires_at: datetime | None
    idempotency_key: str | None
    cancel_requested: bool
    current_node_id: str | None
    parent_execution_id: int | None
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


_NAMES: Final = [field.name for field in fields(ExecutionRow)]
_TIMES: Final = [name for name in _NAMES if name.endswith("_at")]

_CLAIM: Final = f"""
UPDATE executions SET status = 'running', attempt = attempt + 1, claimed_by = {{worker}}, lease_expires_at = {{lease}},
    started_at = {{now}}, updated_at = {{now}}
WHERE id = (
    SELECT id FROM executions WHERE queue = {{queue}} AND status = 'pending' AND available_at <= {{now}}
    ORDER BY priority DESC, available_at, id LIMIT 1 {{lock}}
) RETURNING {", ".join(_NAMES)}
"""
_COMPLETE: Final = """
UPDATE executions SET status = 'completed', output = {output}, error = NULL, lease_expires_at = NULL,
    completed_at = {now}, updated_at = {now}
WHERE id = {id} AND attempt = {attempt} AND status = 'running' RETURNING id
"""


class BareQueue(Protocol):
    """A queue by hand."""

    async def claim(self, queue: str) -> ExecutionRow | None: ...

    async def complete(self, claimed: ExecutionRow, output: Any) -> None: ...


class _PostgreSQL:
    CLAIM: Final = _CLAIM.format(queue="$1", worker="$2", lease="$3", now="$4", lock="FOR NO KEY UPDATE SKIP LOCKED")
    COMPLETE: Final = _COMPLETE.format(id="$1", attempt="$2", output="$3", now="$4")

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def claim(self, queue: str) -> ExecutionRow | None:
        now = datetime.now(UTC)
        row = await self._connection.fetchrow(self.CLAIM, queue, "bare", now + _LEASE, now)
        return None if row is None else _decoded(ExecutionRow(*row))

    async def complete(self, claimed: ExecutionRow, output: Any) -> None:
        now, told = datetime.now(UTC), json.dumps(output)
        assert await self._connection.fetchval(self.COMPLETE, claimed.id, claimed.attempt, told, now)


class _SQLite:
    CLAIM: Final = _CLAIM.format(queue="?1", worker="?2", lease="?3", now="?4", lock="")
    COMPLETE: Final = _COMPLETE.format(id="?1", attempt="?2", output="?3", now="?4")

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    async def claim(self, queue: str) -> ExecutionRow | None:
        now = datetime.now(UTC)
        rows = self._file.execute(self.CLAIM, (queue, "bare", _text(now + _LEASE), _text(now))).fetchall()
        await asyncio.sleep(0)  # the four have their turns
        if not rows:
            return None
        row = _decoded(ExecutionRow(*rows[0]))
        row.uuid, row.cancel_requested = uuid.UUID(rows[0][1]), bool(row.cancel_requested)
        for name in _TIMES:
            if (told := getattr(row, name)) is not None:
                setattr(row, name, datetime.fromisoformat(told))
        return row

    async def complete(self, claimed: ExecutionRow, output: Any) -> None:
        given = (claimed.id, claimed.attempt, json.dumps(output), _text(datetime.now(UTC)))
        assert self._file.execute(self.COMPLETE, given).fetchall()


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _decoded(row: ExecutionRow) -> ExecutionRow:
    row.metadata = json.loads(row.metadata)
    row.input = None if row.input is None else json.loads(row.input)
    return row


@asynccontextmanager
async def bare_queues(place: Place, workers: int) -> AsyncIterator[list[BareQueue]]:
    """Open a queue for each worker: on SQLite they share a connection, as tasks of one process best do."""
    if place.path is not None:
        file = sqlite3.connect(place.path, isolation_level=None, cached_statements=512)
        try:
            for name, value in PRAGMAS.items():
                file.execute(f"PRAGMA {name} = {value}").fetchall()
            yield [_SQLite(file) for _ in range(workers)]
        finally:
            file.close()
        return
    connections = [await asyncpg.connect(**place.server) for _ in range(workers)]
    try:
        yield [_PostgreSQL(connection) for connection in connections]
    finally:
        for connection in connections:
            await connection.close()
