"""What the nodes of executions did: a row for each attempt at each, written by whoever holds the execution."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, literal_column, select, update

from agentdb import jsons
from agentdb.engine.asked import fields, several, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, each, one
from agentdb.engine.durations import milliseconds_between
from agentdb.engine.functions import writing_transaction
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_or_update
from agentdb.errors import AgentDBError, BadInput, Conflict, InvalidTransition
from agentdb.execution.models import ExecutionLog, NodeStatus
from agentdb.execution.records import Claim
from agentdb.execution.standing import HELD, STANDING, Standing, executions, held, holds, refused, shown
from agentdb.execution.working import error_text
from agentdb.following import Change, Trail, follow
from agentdb.guarded import Guarded
from agentdb.page import Page
from agentdb.repository import MOST

_logs: Final[Table] = ExecutionLog.__table__  # type: ignore[assignment]

_ON: Final = ("execution_id", "node_id", "attempt")
_ENTRY: Final = frozenset(
    {"node_id", "node_name", "status", "input", "output", "error", "started_at", "completed_at", "duration_ms"}
)
_BEGIN: Final = insert_or_update(
    ExecutionLog,
    _ON,
    frozenset({"node_name", "status", "input", "output", "error", "started_at", "completed_at", "duration_ms"}),
)

# Locks the execution to the end of the transaction: nobody takes it over while its log is written.
_AT_NODE: Final = Plan[None](
    update(executions)
    .where(HELD)
    .values(current_node_id=of(executions.c.current_node_id, "node_id"), updated_at=of(executions.c.updated_at, "now")),
    name="node_logs.start: execution",
)
_HELD: Final = Plan[int](
    select(executions.c.id).where(HELD).with_for_update(key_share=True), name="node_logs.append: execution"
)
_FOUND: Final = Plan[ExecutionLog](
    select(ExecutionLog).where(
        *(
            _logs.c[key] == of(_logs.c[key], name)
            for key, name in zip(_ON, ("execution_id", "node_id", "held_attempt"), strict=True)
        )
    ),
    name="node_logs.found",
    rows=ExecutionLog,
)
_DONE: Final = Plan[ExecutionLog](
    select(ExecutionLog)
    .where(
        _logs.c.execution_id == of(_logs.c.execution_id),
        _logs.c.node_id == of(_logs.c.node_id),
        _logs.c.status == literal_column(f"'{NodeStatus.completed}'"),
    )
    .order_by(_logs.c.attempt.desc())
    .limit(1),
    name="node_logs.done",
    rows=ExecutionLog,
)


_over: Final[list[Any]] = [literal_column(f"'{one}'") for one in (NodeStatus.completed, NodeStatus.skipped)]
_OVER: Final = Plan[str](
    select(_logs.c.node_id).where(_logs.c.execution_id == of(_logs.c.execution_id), _logs.c.status.in_(_over)),
    name="node_logs.finished",
)


def _finish_plan() -> Plan[ExecutionLog]:
    """End an attempt at a node that runs, while the claim holds: the lock reads the execution's latest version."""
    holding = select(executions.c.id).where(HELD).with_for_update(key_share=True).cte("holding")
    now = of(_logs.c.updated_at, "now")
    statement = (
        update(_logs)
        .where(
            _logs.c.execution_id == holding.c.id,
            _logs.c.node_id == of(_logs.c.node_id),
            _logs.c.attempt == of(_logs.c.attempt, "held_attempt"),
            _logs.c.status == literal_column(f"'{NodeStatus.running}'"),
        )
        .values(
            status=of(_logs.c.status),
            output=of(_logs.c.output),
            error=of(_logs.c.error),
            completed_at=now,
            duration_ms=milliseconds_between(_logs.c.started_at, now),
            updated_at=now,
            tx=writing_transaction(),
        )
        .returning(_logs)
    )
    return Plan(statement, name="node_logs.finish", rows=ExecutionLog)


_FINISH: Final = _finish_plan()


class NodeLogs(Guarded[ExecutionLog]):
    """What the nodes of executions did. Whoever writes shows the claim, and is refused when it does not hold.

    Args: in_unit: whether ``connection`` is a transaction, in which nobody waits for a step.
    """

    model = ExecutionLog

    def __init__(self, connection: Connection, *, most: int = MOST, in_unit: bool = False) -> None:
        super().__init__(connection, most=most)
        self._in_unit = in_unit

    async def start(self, claim: Claim, node_id: str, *, name: str | None = None, input: Any = None) -> ExecutionLog:  # noqa: A002 (the column's name)
        """Say that a node runs, and that the execution has come to it; begun again in one attempt, it starts afresh.

        Args:
            claim: of the execution.
            node_id: the node.
            name: what people call it; by default its id.
            input: any JSON.

        Raises: StaleVersion, InvalidTransition or NotFound as `Claims.complete`; InvalidTransition for a node that is
            complete in this attempt.
        Cost: one transaction of two statements.
        """
        now = self.connection.now()
        row = {
            "execution_id": shown(claim).id,
            "node_id": node_id,
            "attempt": claim.attempt,
            "node_name": name or node_id,
            "status": NodeStatus.running,
            "input": input,
            "started_at": now,
        }
        return await self.connection.run(lambda: _start(claim, row, now))

    async def complete(self, claim: Claim, node_id: str, output: Any = None) -> ExecutionLog:
        """Say that a node is done, with its output and how long it took.

        Raises: InvalidTransition for a node that does not run in this attempt; otherwise as `start`.
        Cost: one statement.
        """
        return await self._finish(claim, node_id, status=NodeStatus.completed, output=output, error=None)

    async def fail(self, claim: Claim, node_id: str, error: str) -> ExecutionLog:
        """Say that a node has failed.

        Raises: as `complete`.
        """
        return await self._finish(claim, node_id, status=NodeStatus.failed, output=None, error=error)

    async def skip(self, claim: Claim, node_id: str, *, name: str | None = None) -> ExecutionLog:
        """Say that a node is passed by.

        Raises: as `start`.
        Cost: one transaction of two statements.
        """
        (log,) = await self.append_many(
            claim, [{"node_id": node_id, "node_name": name or node_id, "status": NodeStatus.skipped}]
        )
        return log

    async def append_many(self, claim: Claim, entries: Iterable[Mapping[str, Any]]) -> list[ExecutionLog]:
        """Store what several nodes did, all or none, and return the rows in their order.

        Args:
            claim: of the execution.
            entries: each with ``node_id`` and ``status``; ``node_name`` (by default the id), ``input``, ``output``,
                ``error``, ``started_at``, ``completed_at`` and ``duration_ms`` as wanted.

        Raises: Conflict for a node that has a log in this attempt; otherwise as `start`.
        Cost: one transaction of two statements.
        """
        rows = [self._row(shown(claim), entry) for entry in several(entries, "entries")]
        return await self.connection.run(lambda: _append(claim, rows))

    @staticmethod
    def _row(claim: Claim, entry: Mapping[str, Any]) -> dict[str, Any]:
        fields(entry, _ENTRY, "a node's log")
        if not {"node_id", "status"} <= set(entry):
            raise BadInput("a node's log needs node_id and status")
        return {"node_name": entry["node_id"], **entry, "execution_id": claim.id, "attempt": claim.attempt}

    async def of(self, execution_id: int, *, limit: int = 100, after: str | None = None) -> Page[ExecutionLog]:
        """Return a page of an execution's log, in the order in which nodes were begun."""
        return await self.page(execution_id=execution_id, limit=limit, after=after)

    async def finished(self, execution_id: int) -> set[str]:
        """Return the nodes that are done or skipped, in whichever attempt: those that need not be done again.

        Cost: one read by (execution_id, node_id, attempt).
        """
        return set(await self.connection.fetch_all(_OVER, {"execution_id": execution_id}))

    def follow(
        self, execution_id: int, *, after: str | None = None, poll_seconds: float = 1.0
    ) -> AsyncGenerator[Change[ExecutionLog], None]:
        """Yield the logs of an execution as they are committed, each again when it has changed.

        Args:
            execution_id: whose.
            after: the ``cursor`` of the last change that was dealt with; None: from the beginning;
                `agentdb.following.NOW`: what is committed from now on.
            poll_seconds: how often to look when told nothing.

        Raises: BadInput in a unit, or for a cursor of something else; Unavailable when the database is closed.
        Cost: one read for each 200 changes, by (execution_id, tx, id).
        """
        trail = Trail(ExecutionLog, ("execution_id", whole_number(execution_id, "execution_id")))
        return follow(self.connection, trail, after=after, poll_seconds=poll_seconds)

    async def step(
        self,
        claim: Claim,
        node_id: str,
        act: Callable[[], Awaitable[Any]],
        *,
        name: str | None = None,
        input: Any = None,  # noqa: A002 (the column's name)
    ) -> Any:
        """Return the output of a node: as an earlier attempt stored it, or by acting now and storing it.

        An act that was done but not stored, since the process ended in between, is done again.

        Args:
            claim: of the execution.
            node_id: the node: the same step of every attempt.
            act: what the node does; awaited outside any transaction. Its output is JSON, and is returned as stored.
            name: what people call the node.
            input: any JSON, for people who look.

        Raises: what the act raises, once it is logged; as `start` when the claim does not hold, before or after it.
        Cost: one read; one transaction before the act, and one statement after it.
        """
        if self._in_unit:
            raise BadInput("a step acts outside any transaction; use db.execution.node_logs, not the unit's")
        if not callable(act):
            raise BadInput(f"what a node does is a function, not {type(act).__name__}")
        asked = {"execution_id": shown(claim).id, "node_id": node_id}
        done: ExecutionLog | None = await self.connection.fetch_one(_DONE, asked)
        if done is not None:
            return done.output
        await self.start(claim, node_id, name=name, input=input)
        try:
            output = jsons.decode(jsons.encode(await act()))
        except Exception as error:
            await self.fail(claim, node_id, error_text(error))
            raise
        await self.complete(claim, node_id, output)
        return output

    async def _finish(self, claim: Claim, node_id: str, **outcome: Any) -> ExecutionLog:
        values = {**held(claim), "node_id": node_id, "now": self.connection.now(), **outcome}
        log: ExecutionLog | None = await self.connection.fetch_one(_FINISH, values)
        if log is not None:
            return log
        standing: Standing | None = await self.connection.fetch_one(STANDING, {"id": claim.id})
        if not holds(claim, standing):
            raise refused(claim, standing)
        found: ExecutionLog | None = await self.connection.fetch_one(_FOUND, {**held(claim), "node_id": node_id})
        raise _not_running(claim, node_id, found)


def _not_running(claim: Claim, node_id: str, log: ExecutionLog | None) -> InvalidTransition:
    status = "not begun" if log is None else log.status
    return InvalidTransition(f"node {node_id!r} of execution {claim.id} is {status} in attempt {claim.attempt}")


def _start(claim: Claim, row: Mapping[str, Any], now: datetime) -> Script[ExecutionLog]:
    if not (yield from count(_AT_NODE, **held(claim), node_id=row["node_id"], now=now)):
        raise (yield from _refused(claim))
    before = yield from one(_FOUND, **held(claim), node_id=row["node_id"])
    if before is not None and before.status is NodeStatus.completed:
        raise _not_running(claim, row["node_id"], before)
    log: ExecutionLog | None = yield from one(_BEGIN, **row)
    if log is None:
        raise Conflict(f"the log of node {row['node_id']!r} was not stored; a trigger or a rule took it away")
    return log


def _append(claim: Claim, rows: Sequence[Mapping[str, Any]]) -> Script[list[ExecutionLog]]:
    if (yield from one(_HELD, **held(claim))) is None:
        raise (yield from _refused(claim))
    stored = yield from each(insert_one(ExecutionLog), rows)
    return [log for log in stored if log is not None]


def _refused(claim: Claim) -> Script[AgentDBError]:
    return refused(claim, (yield from one(STANDING, id=claim.id)))
