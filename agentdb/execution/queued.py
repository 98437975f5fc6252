"""How executions come into a queue, and what is done to them from without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from agentdb.engine.asked import fields, is_text, moment, several, whole_number
from agentdb.errors import BadInput, InvalidTransition, brief
from agentdb.execution.claims import Claims, later
from agentdb.execution.enqueueing import (
    BY_KEY,
    ENQUEUE,
    ENQUEUE_ONCE,
    KEY,
    STATUS_OF_WORKFLOW,
    enqueue_all,
    not_stored,
)
from agentdb.execution.models import Execution, ExecutionChange, ExecutionStatus, WorkflowStatus
from agentdb.execution.overseeing import CANCEL, DEAD_LETTERS, PRUNE, RESCUE, RETRY
from agentdb.execution.records import Rescued
from agentdb.execution.standing import STANDING, Standing, executions, unknown
from agentdb.following import Change, Trail, follow
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

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
_NEEDED: Final = frozenset({"workflow_id", "user_id"})
_FIELDS: Final = frozenset({*_NEEDED, "delay_seconds", "available_at", *_DEFAULTS})


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
        """Put an execution of an active workflow into a queue, together with whatever else the unit does.

        It keeps the version that the workflow has now: `Workflows.graph_of` tells its graph, whatever comes later.

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

        Raises: InvalidTransition when the workflow is not active; MissingReference, BadInput.
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
                "metadata": {} if metadata is None else metadata,
            }
        )
        plan = ENQUEUE if idempotency_key is None else ENQUEUE_ONCE
        stored: Execution | None = await self.connection.fetch_one(plan, row)
        if stored is None and idempotency_key is not None:
            # A statement of its own, which sees what the first one waited for.
            stored = await self.connection.fetch_one(BY_KEY, {name: row[name] for name in KEY})
        if stored is None:
            status: WorkflowStatus | None = await self.connection.fetch_one(STATUS_OF_WORKFLOW, {"id": workflow_id})
            raise not_stored(row, status)
        return stored

    async def enqueue_many(self, rows: Iterable[Mapping[str, Any]]) -> list[Execution]:
        """Put executions into queues, all or none, and return them in their order.

        Args: rows: the arguments of `enqueue` by their names.
        Raises: as `enqueue`.
        Cost: one transaction; on PostgreSQL those without a key are one statement.
        """
        given = [self._row(row) for row in several(rows, "rows")]
        return await self.connection.run(lambda: enqueue_all(given))

    def _row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fields(given, _FIELDS, "an execution")
        if missing := ", ".join(sorted(_NEEDED - set(given))):
            raise BadInput(f"an execution needs {missing}")
        row = {**_DEFAULTS, **given}
        whole_number(row["workflow_id"], "workflow_id")
        if row["idempotency_key"] is not None and not is_text(row["idempotency_key"]):
            raise BadInput(f"an idempotency_key is a text, not {type(row['idempotency_key']).__name__}")
        if not isinstance(row["metadata"], Mapping):
            raise BadInput(f"metadata is a JSON object, not {type(row['metadata']).__name__}")
        if not row["queue"]:
            raise BadInput("a queue has a name that is not empty")
        delay, available_at = row.pop("delay_seconds", 0), row.pop("available_at", None)
        if available_at is not None and delay:
            raise BadInput("say delay_seconds or available_at, not both")
        if type(row["max_attempts"]) is not int or row["max_attempts"] < 1:
            raise BadInput(f"max_attempts is a whole number from 1, not {brief(row['max_attempts'])}")
        return {**row, "available_at": later(self.connection.now(), delay) if available_at is None else available_at}

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
        if not is_text(queue):
            raise BadInput(f"a queue is named by a text, not {type(queue).__name__}")
        limit = capped(limit, self.most)
        listing = f"executions: dead letters of {queue}"
        values: dict[str, Any] = {"queue": queue, "limit": limit + 1}
        if after is not None:
            values["after_0"] = values_of(listing, after, [executions.c.id])[0]
        rows = await self.connection.fetch_all(DEAD_LETTERS[after is not None], values)
        return page_of(rows, limit, listing, ["id"])

    async def prune(self, before: datetime, *, limit: int = 1_000) -> int:
        """Remove executions that were finished before a moment, with their logs, and return how many.

        Call it again until it returns 0: each call is a short transaction.

        Cost: one statement by ix_executions__finished.
        """
        values = {"before": moment(before, "before"), "limit": capped(limit, self.most)}
        return len(await self.connection.fetch_all(PRUNE, values))

    def follow(
        self, execution_id: int, *, after: str | None = None, poll_seconds: float = 1.0
    ) -> AsyncGenerator[Change[ExecutionChange], None]:
        """Yield what becomes of an execution and its nodes, as it is committed: every status, in order.

        A change without ``node_id`` is the execution's. It goes on when the execution is finished, for that may be
        retried; an execution that is removed says nothing more.

        Args:
            execution_id: whose.
            after: the ``cursor`` of the last change that was dealt with, in whichever process; None: from the
                beginning; `agentdb.following.NOW`: what is committed from now on.
            poll_seconds: how often to look when told nothing.

        Raises: BadInput in a unit, or for a cursor of something else; Unavailable when the database is closed.
        Cost: one read for each 200 changes, by (execution_id, id).
        """
        # By number: whoever changes an execution or its logs has locked it before the number is drawn.
        trail = Trail(ExecutionChange, ("execution_id", whole_number(execution_id, "execution_id")), appended=True)
        return follow(self.connection, trail, after=after, poll_seconds=poll_seconds)

    async def _not(self, execution_id: int, changed: str) -> Exception:
        standing: Standing | None = await self.connection.fetch_one(STANDING, {"id": execution_id})
        if standing is None:
            return unknown(execution_id)
        return InvalidTransition(f"execution {execution_id} is {standing.status}, and cannot be {changed}")
