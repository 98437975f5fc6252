"""How a table's old rows are removed: batch by batch, each a short transaction of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from sqlalchemy import ColumnElement, Table, bindparam, delete, func, select

from agentdb.database import Database
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.schema.opening import close_to_retention, open_to_retention
from agentdb.errors import BadInput
from agentdb.operating.retaining.policies import Keep

_NO_AGE: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did, and from which id the next one goes on; None: that was all."""

    rows: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Ask:
    """What of a table goes: rows from before a moment, or those up to an id."""

    before: datetime
    last: int
    dry: bool  # count only


class Rule(ABC):
    """How the rows of one table may go."""

    by: str  # by what they are old, in words
    counts: bool = False  # whether the newest so many may be kept
    fixed: bool = False  # whether they go when their time is over, and not by an age
    least: timedelta = _NO_AGE

    def check(self, table: str, keep: Keep) -> None:
        """See that a policy is one that this table knows.

        Raises: BadInput.
        """
        if keep.age is None:
            if not self.counts:
                raise BadInput(f"{table} are kept by age ({self.by}), not the newest so many; write {table}=400d")
        elif self.fixed and keep.age:
            raise BadInput(f"{table} go by {self.by}, whatever their age; write {table}=0d, or {table}=never")
        elif keep.age < self.least:
            raise BadInput(f"{table} are kept for {self.least.days} days at least; {keep} is too short")

    async def last(self, database: Database, newest: int) -> int:  # noqa: ARG002
        """Return the id of the last row that goes when the newest so many stay; 0 where none does."""
        return 0

    @abstractmethod
    async def batch(self, database: Database, ask: Ask, after: int, limit: int) -> Batch:
        """Remove, or count, some of the rows."""


Conditions: TypeAlias = Callable[[ColumnElement[datetime]], Sequence[ColumnElement[bool]]]


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    created_at: datetime


class Walked(Rule):
    """Rows in the order in which they came, up to the first that is young; those that must stay are passed by.

    Args:
        table: which.
        by: by what its rows are old, in words.
        conditions: what else has to be true of a row, given the moment.
        rows: how many are looked at in a transaction, at most.
    """

    def __init__(
        self, table: Table, by: str = "created_at", conditions: Conditions | None = None, *, rows: int = 1_000
    ) -> None:
        self.by = by
        self.counts = conditions is None
        self._rows = rows
        self._table, id_ = table, table.c.id
        before = of(table.c.created_at, "before")
        also = conditions(before) if conditions is not None else ()
        self._last = Plan[int](
            select(id_).order_by(id_.desc()).offset(bindparam("newest")).limit(1), name=f"{table.name}.retention: last"
        )
        self._page = Plan[_Row](
            select(id_, table.c.created_at).where(id_ > of(id_, "after")).order_by(id_).limit(bindparam("limit")),
            name=f"{table.name}.retention: page",
            rows=_Row,
        )
        # Whoever uses one of them at this moment keeps it.
        self._lock = Plan[int](
            select(id_).where(among(id_, "ids"), *also).order_by(id_).with_for_update(skip_locked=True),
            name=f"{table.name}.retention: lock",
        )
        self._count = Plan[int](
            select(func.count()).select_from(table).where(among(id_, "ids"), *also),
            name=f"{table.name}.retention: count",
        )
        # Looked at again: what was added to a row until it was locked is seen now.
        self._delete = Plan[None](delete(table).where(among(id_, "ids"), *also), name=f"{table.name}.retention: delete")
        self._open = Plan[None](open_to_retention(table), name=f"{table.name}.retention: open")
        self._close = Plan[None](close_to_retention(table), name=f"{table.name}.retention: close")
        self._with_moment = conditions is not None

    async def last(self, database: Database, newest: int) -> int:
        """Return the id of the last row that goes when the newest so many stay; 0 where none does."""
        return await database.hub.connection.fetch_one(self._last, {"newest": newest}) or 0

    async def batch(self, database: Database, ask: Ask, after: int, limit: int) -> Batch:
        """Remove, or count, those of the next rows that go."""
        limit = min(limit, self._rows)
        return await database.run(lambda unit: unit.hub.connection.run(lambda: self._batched(ask, after, limit)))

    def _batched(self, ask: Ask, after: int, limit: int) -> Script[Batch]:
        rows = yield from every(self._page, after=after, limit=limit)
        ids = [row.id for row in rows if row.created_at < ask.before or row.id <= ask.last]
        if not ids:
            return Batch(0, None)
        moment = {"before": ask.before} if self._with_moment else {}
        if ask.dry:
            removed = (yield from one(self._count, ids=ids, **moment)) or 0
        else:
            locked = yield from every(self._lock, ids=ids, **moment)
            yield from one(self._open)
            removed = yield from count(self._delete, ids=locked, **moment)
            yield from one(self._close)
        whole = len(rows) == limit and ids[-1] == rows[-1].id
        return Batch(removed, rows[-1].id if whole else None)


Purge: TypeAlias = Callable[[Database, datetime, int], Awaitable[tuple[int, bool]]]


@dataclass(slots=True, eq=False)
class Purged(Rule):
    """Rows that their repository removes.

    Args:
        by: by what they are old, in words.
        purge: removes so many from before a moment; returns how many, and whether there may be more.
        ripe: counts those that would go.
        fixed: whether they go when their time is over, and not by an age.
        least: the shortest age.
        rows: how many in a transaction, at most.
    """

    by: str
    purge: Purge
    ripe: Callable[[Database, datetime], Awaitable[int]]
    fixed: bool = False
    least: timedelta = _NO_AGE
    rows: int = 1_000
    counts: bool = field(default=False, init=False)

    async def batch(self, database: Database, ask: Ask, after: int, limit: int) -> Batch:  # noqa: ARG002
        """Remove some, or count all."""
        if ask.dry:
            return Batch(await self.ripe(database, ask.before), None)
        limit = min(limit, self.rows, database.settings.page_limit)
        removed, more = await self.purge(database, ask.before, limit)
        return Batch(removed, 0 if more else None)


@dataclass(frozen=True, slots=True)
class Kept:
    """A table whose rows stay, and why, or with what they go."""

    why: str
