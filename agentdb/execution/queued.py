"""How executions come into a queue, and what is done to them from without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, each, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import BadInput, Conflict, InvalidTransition
from agentdb.execution.claims import Claims, later
from agentdb.execution.models import Execution, ExecutionStatus
from agentdb.execution.overseeing import CANCEL, DEAD_LETTERS, PRUNE, RESCUE, RETRY
from agentdb.execution.records import Rescued
from agentdb.execution.standing import STANDING, Standing, executions, unknown
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

_KEY: Final = ("workflow_id", "idempotency_key")
_STORE_ONCE: Final = insert_unless_there(Execution, _KEY)
_BY_KEY: Final = Plan[Execution](
    select(Execution).where(*(executions.c[name] == of(executions.c[name]) for name in _KEY)),
    name="executions.by_key",
    rows=Execution,
)
_DEFAULTS: Final[Mapping[str, Any]] = {
    "input": None,
    "queue": "default",
    "priority": 0,
    "idempotency_key": None,
    "max_attempts": 3,
    "agent_id": None,
    "parent_execution_id": None,
    "metadata": {},
}
_FIELDS: Final = frozenset({"workflow_id", "user_id", "delay_seconds", "available_at", *_DEFAULTS})


class Queued(Claims):
    """The executions of queues, as those see them who want them to be run."""

    async def enqueue(
        self,
        workflow_id: int,
        user_id: int,
        input: Any = None,  # noqa: A002 (the column's name)
        *,
        queue: str = "default",
        priority: int = 0,
        delay_seconds: float = 0,
        available_at: datetime | None = None,
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        agent_id: int | None = None,
        parent_execution_id: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Put an execution into a queue, together with whatever else the unit does.

        Args:
            workflow_id: what to run.
            user_id: for whom.
            input: any JSON.
            queue: which workers take it.
            priority: the highest is claimed first.
            delay_seconds: how long it is not claimed; or say ``available_at``.
            available_at: when it may be claimed.
            idempotency_key: of several calls with the same key for one workflow the first is stored, and all get it.
            max_attempts: how often it is tried.
            agent_id: which agent runs it.
            parent_execution_id: the execution that wants it.
            metadata: the caller's own.

        Raises: MissingReference, BadInput.
        Cost: one insert; concurrent calls without a key share one.
        """
        row = self._row(
            {
                "workflow_id": workflow_id,
                "user_id": user_id,
                "input": input,
                "queue": queue,
                "priority": priority,
                "delay_seconds": delay_seconds,
                "available_at": available_at,
                "idempotency_key": idempotency_key,
                "max_attempts": max_attempts,
                "agent_id": agent_id,
                "parent_execution_id": parent_execution_id,
                "metadata": metadata or {},
            }
        )
        if idempotency_key is None:
            added: Execution | None = await self.connection.fetch_one(insert_one(Execution), row)
            return self._there(added)
        stored: Execution | None = await self.connection.fetch_one(_STORE_ONCE, row)
        if stored is None:  # a statement of its own, which sees what the first one waited for
            stored = await self.connection.fetch_one(_BY_KEY, {name: row[name] for name in _KEY})
        if stored is None:
            raise _gone(row)
        return stored

    async def enqueue_many(self, rows: Iterable[Mapping[str, Any]]) -> list[Execution]:
        """Put executions into queues, all or none, and return them in their order.

        Args: rows: the arguments of `enqueue` by their names.
        Raises: as `enqueue`.
        Cost: one transaction; on PostgreSQL those without a key are one statement.
        """
        given = [self._row(row) for row in rows]
        return await self.connection.run(lambda: _enqueue_all(given))

    def _row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if unknown_ := ", ".join(sorted(set(given) - _FIELDS)):
            raise BadInput(f"an execution has no {unknown_}; it has {', '.join(sorted(_FIELDS))}")
        row = {**_DEFAULTS, **given}
        delay, available_at = row.pop("delay_seconds", 0), row.pop("available_at", None)
        if available_at is not None and delay:
            raise BadInput("say delay_seconds or available_at, not both")
        if type(row["max_attempts"]) is not int or row["max_attempts"] < 1:
            raise BadInput(f"max_attempts is a whole number from 1, not {row['max_attempts']!r}")
        return {**row, "available_at": available_at or later(self.connection.now(), delay)}

    async def cancel(self, execution_id: int) -> ExecutionStatus:
        """Cancel an execution: one that waits at once; the worker of one that runs is asked at its heartbeat.

        Returns: what it is now, ``cancelled`` or ``running``.
        Raises: NotFound; InvalidTransition when it is finished.
        Cost: one update by the key.
        """
        values = {"execution_id": execution_id, "now": self.connection.now()}
        status: ExecutionStatus | None = await self.connection.fetch_one(CANCEL, values)
        if status is None:
            raise await self._not(execution_id, "cancelled")
        return status

    async def retry(self, execution_id: int, *, attempts: int = 3) -> Execution:
        """Let a failed execution be tried again, from the step that failed: what is logged as complete stays so.

        Args: attempts: how many more, at least.
        Raises: NotFound; InvalidTransition when it has not failed.
        Cost: one update by the key.
        """
        values = {"execution_id": execution_id, "attempts": capped(attempts, self.most), "now": self.connection.now()}
        row: Execution | None = await self.connection.fetch_one(RETRY, values)
        if row is None:
            raise await self._not(execution_id, "retried")
        return row

    async def rescue(self, limit: int = 100) -> list[Rescued]:
        """Take executions away from workers whose leases have ended, those that ended first.

        They are pending again at once; or failed, when their attempts are used up; or cancelled, when that was asked
        for. Workers do this by themselves now and then.

        Cost: one statement by ix_executions__leased.
        """
        values = {"now": self.connection.now(), "limit": capped(limit, self.most)}
        return await self.connection.fetch_all(RESCUE, values)

    async def dead_letters(
        self, queue: str = "default", *, limit: int = 50, after: str | None = None
    ) -> Page[Execution]:
        """Return a page of what has failed in a queue, the newest first: `retry` brings one back.

        Cost: one read by ix_executions__failed.
        """
        limit = capped(limit, self.most)
        listing = f"executions: dead letters of {queue}"
        values: dict[str, Any] = {"queue": queue, "limit": limit + 1}
        if after is not None:
            values["after_0"] = values_of(listing, after, [executions.c.id])[0]
        rows = await self.connection.fetch_all(DEAD_LETTERS[after is not None], values)
        return page_of(rows, limit, listing, ["id"])

    async def prune(self, before: datetime, *, limit: int = 1_000) -> int:
        """Remove executions that were finished before a moment, with their logs, and return how many.

        Call it again until it returns fewer than the limit: each call is a short transaction.

        Cost: one statement by ix_executions__finished.
        """
        values = {"before": before, "limit": capped(limit, self.most)}
        return len(await self.connection.fetch_all(PRUNE, values))

    async def _not(self, execution_id: int, changed: str) -> Exception:
        standing: Standing | None = await self.connection.fetch_one(STANDING, {"id": execution_id})
        if standing is None:
            return unknown(execution_id)
        return InvalidTransition(f"execution {execution_id} is {standing.status}, and cannot be {changed}")


def _enqueue_all(rows: Sequence[Mapping[str, Any]]) -> Script[list[Execution]]:
    stored: dict[int, Execution | None] = {}
    plain = [place for place, row in enumerate(rows) if row["idempotency_key"] is None]
    # In the order of their keys, so that two calls with the same keys do not wait for each other.
    keyed = sorted(
        (place for place, row in enumerate(rows) if row["idempotency_key"] is not None),
        key=lambda place: (rows[place]["workflow_id"], rows[place]["idempotency_key"]),
    )
    for plan, places in ((insert_one(Execution), plain), (_STORE_ONCE, keyed)):
        found = yield from each(plan, [rows[place] for place in places])
        stored |= dict(zip(places, found, strict=True))
    answers = []
    for place, row in enumerate(rows):
        execution = stored[place]
        if execution is None:
            execution = yield from one(_BY_KEY, **{name: row[name] for name in _KEY})
        if execution is None:
            raise _gone(row)
        answers.append(execution)
    return answers


def _gone(row: Mapping[str, Any]) -> Conflict:
    return Conflict(
        f"an execution under key {row['idempotency_key']!r} was removed at this moment; enqueue it again",
        constraint="uq_executions__workflow_id_idempotency_key",
    )
