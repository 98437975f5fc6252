"""Retention: the one way by which old rows go, in short transactions, within a time, and on record.

Nothing is remembered between two runs: each asks the tables what is old. So a run may be killed at any point, and the
next one goes on; two at once share the work.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, TypeAlias

from agentdb.database import Database
from agentdb.engine.asked import lasting
from agentdb.errors import AgentDBError, BadInput, BadSettings
from agentdb.operating.retaining.policies import DEFAULTS, Keep
from agentdb.operating.retaining.removing import Ask, Kept, Rule
from agentdb.operating.retaining.rules import RULES
from agentdb.repository import capped
from agentdb.types import uuid7

BATCH: Final = 1_000
BUDGET_SECONDS: Final = 300.0
_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)

OnRemoved: TypeAlias = Callable[[str, int], None]
"""Told the table, and how many of its rows have gone so far, after each batch."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of one table.

    Attributes:
        table: its name.
        keep: how long its rows are kept, such as ``400d``.
        rows: how many went, or in a dry run would go; of costs: how many were folded into days.
        finished: whether none is left that is old; otherwise the time was up, and the next run goes on.
        problem: what stopped it, if something did.
    """

    table: str
    keep: str
    rows: int
    finished: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What a run did, or would do."""

    run: str  # the correlation_id of its entries in the audit log
    at: datetime
    dry_run: bool
    tables: list[Removed]

    @property
    def rows(self) -> int:
        """How many rows went, of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def finished(self) -> bool:
        """Whether nothing old is left."""
        return all(table.finished for table in self.tables)


async def apply(
    database: Database,
    policies: Mapping[str, Keep | None] | None = None,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    batch: int = BATCH,
    dry_run: bool = False,
    by: int | None = None,
    on_removed: OnRemoved | None = None,
) -> RetentionReport:
    """Remove what is older than policies allow, and return what was removed.

    That it begins is recorded before the first row goes, with the policies, and what it did when it ends; of one that
    was killed only the beginning is there. A table that cannot be dealt with is told, and does not stop the others.

    Args:
        database: an open one, of no service: retention acts as the owner of the tables.
        policies: by table, beside and in place of `DEFAULTS`; None for a table: nothing of it goes.
        budget_seconds: no batch begins after it.
        batch: how many rows are looked at in one transaction, at most.
        dry_run: count, and remove nothing; nothing is recorded then. What waits for other rows to go is not counted.
        by: the user who asked for it; None: the system.
        on_removed: is told of each batch.

    Raises:
        BadInput: for a table whose rows may not go, or not like that; nothing has been removed then.
        BadSettings: for a database of a service.
    """
    if database.settings.service is not None:
        raise BadSettings("retention runs as the owner of the tables; connect without a service")
    agreed = _agreed(policies or {})
    ends = monotonic() + lasting(budget_seconds, "budget_seconds").total_seconds()
    run = _Run(database, capped(batch, 10_000), ends, dry_run=dry_run, tell=on_removed or _nobody)
    report = RetentionReport(str(uuid7()), database.now(), dry_run, [])
    if not dry_run:
        policy = {table: str(keep) for table, _, keep in agreed}
        await _record(database, "begin", by, report.run, {"policies": policy})
    try:
        for table, rule, keep in agreed:
            report.tables.append(await run.over(table, rule, keep, report.at))
    finally:
        if not dry_run:
            done = {removed.table: removed.rows for removed in report.tables}
            problems = {removed.table: removed.problem for removed in report.tables if removed.problem}
            complete = len(report.tables) == len(agreed) and report.finished
            ended = {"removed": done, "problems": problems, "finished": complete}
            await _record(database, "end", by, report.run, ended)
    return report


def _agreed(policies: Mapping[str, Keep | None]) -> list[tuple[str, Rule, Keep]]:
    """Return what is in force, in the order in which tables are dealt with."""
    agreed = {}
    for table, keep in {**DEFAULTS, **policies}.items():
        rule = RULES.get(table)
        if rule is None:
            near = difflib.get_close_matches(table, RULES, n=1)
            raise BadInput(f"there is no table {table!r}" + (f"; {near[0]} is meant?" if near else ""))
        if isinstance(rule, Kept):
            raise BadInput(f"{table} is not removed by retention: {rule.why}")
        if keep is not None:
            rule.check(table, keep)
            agreed[table] = (table, rule, keep)
    return [agreed[table] for table in RULES if table in agreed]


class _Run:
    def __init__(self, database: Database, batch: int, ends: float, *, dry_run: bool, tell: OnRemoved) -> None:
        self._database = database
        self._batch = batch
        self._ends = ends
        self._dry_run = dry_run
        self._tell = tell
        self._rows = 0

    async def over(self, table: str, rule: Rule, keep: Keep, now: datetime) -> Removed:
        """Deal with one table, as far as the time goes."""
        self._rows = 0
        try:
            finished = await self._batches(table, rule, keep, now)
        except AgentDBError as error:
            return Removed(table, str(keep), self._rows, finished=False, problem=str(error))
        return Removed(table, str(keep), self._rows, finished=finished)

    async def _batches(self, table: str, rule: Rule, keep: Keep, now: datetime) -> bool:
        last = 0 if keep.newest is None else await rule.last(self._database, keep.newest)
        before = _EARLIEST if keep.age is None else max(now, _EARLIEST + keep.age) - keep.age
        ask = Ask(before, last, self._dry_run)
        after: int | None = 0
        while after is not None:
            if monotonic() >= self._ends:
                return False
            done = await rule.batch(self._database, ask, after, self._batch)
            self._rows += done.rows
            after = done.after
            self._tell(table, self._rows)
        return True


async def _record(database: Database, action: str, by: int | None, run: str, detail: Mapping[str, Any]) -> None:
    await database.supervisor.audit.record(
        actor_id=by, action=action, entity="retention", detail=detail, correlation_id=run
    )


def _nobody(_table: str, _rows: int) -> None:
    """Tell nobody."""
