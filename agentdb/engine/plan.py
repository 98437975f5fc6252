"""Plans: SQLAlchemy statements built once, compiled once for each database, and run on the bare driver.

SQLAlchemy describes; it does not execute here. A plan holds the statement's text, the order of its parameters, the
processors that do something, and how a row becomes what the caller gets. It never contains user text: only bound
parameters, filled in by name. What SQLAlchemy's execution context would do besides is done here: Python-side defaults,
on-update values, and one moment from the clock for the whole statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Column, Insert
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from agentdb.engine.columns import Bind, bind_of
from agentdb.engine.filling import Filling
from agentdb.engine.rows import Row, RowMaker, instance_maker, record_maker, value_maker
from agentdb.engine.scoping.reasons import Beyond
from agentdb.engine.spelling import Word
from agentdb.engine.watching import written
from agentdb.errors import Unavailable

T = TypeVar("T")
Processor = Callable[[Any], Any]
Parameters = Mapping[str, Any]

ALONE: Final = object()  # a member's answer when its batch passed it by: it is run alone, and holds nobody up


@dataclass(slots=True, eq=False)
class Plan(Generic[T]):
    """A statement and what its rows become.

    Args:
        statement: any SQLAlchemy Core statement whose values are ``bindparam``s.
        name: what logs and spans call it.
        rows: a mapped class, a record class, or None for a single value.
        columns: for INSERT and UPDATE, the keys of the columns that are bound by name.
        echo: of an INSERT of one mapped row, the columns the database makes; the rest is known, and is not sent back.
        point: this read touches a few small rows by a unique key, and may run where a long one may not.
        together: how calls that arrive while others are in flight are answered by one statement.
        beyond: why it looks beyond a user's scope, when it does; `beyond_tenant` sets it.
        apart: by itself, its rows are asked for on a connection that is kept for such plans, where there are several:
            it is short, and what it is for may not wait until units give theirs back.
    """

    statement: Executable
    name: str
    rows: type[Any] | None = None
    columns: Sequence[str] | None = None
    echo: Sequence[Column[Any]] | None = None
    point: bool = False
    together: Together | None = None
    beyond: Beyond | None = None
    apart: bool = False
    _compiled: dict[str, Compiled[T]] = field(default_factory=dict, repr=False)
    _scoped: Plan[T] | None = field(default=None, repr=False)

    def on(self, dialect: Dialect) -> Compiled[T]:
        """Return this plan compiled for a dialect: made at the first call, kept for the others."""
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = Compiled(self, dialect)
        return compiled


@dataclass(frozen=True, slots=True)
class Together:
    """How many calls of one plan become one statement, on a database where that saves a round trip for each.

    ``statement`` takes the callers' arguments, processed already, as one array for each parameter of the single plan.
    Its rows are the single plan's with the caller's ordinal (from 1) behind them; where ``in_order``, they have no
    ordinal, there is one for each caller, and their first values rise as the callers came. Where it ``passes_by``, a
    caller without a row may only have met a lock, and asks again alone.
    """

    statement: Executable
    in_order: bool = False
    passes_by: bool = False


class Compiled(Generic[T]):
    """A plan for one dialect."""

    __slots__ = (
        "_arrays",
        "arguments",
        "binds",
        "echo",
        "make",
        "plan",
        "tells",
        "tells_id",
        "text",
        "together",
        "writes",
    )

    def __init__(self, plan: Plan[T], dialect: Dialect) -> None:
        # An INSERT from a SELECT binds its columns within the SELECT.
        selecting = isinstance(plan.statement, Insert) and plan.statement.select is not None
        keys = list(plan.columns) if plan.columns is not None and not selecting else None
        # SQLite tells the last row's id by itself: RETURNING would take longer than the rest of the insert.
        statement: Any = plan.statement
        self.tells_id = plan.echo is not None and dialect_tells_id(dialect) and "numbered" not in statement.table.info
        if plan.echo is not None and not self.tells_id:
            statement = statement.returning(*(plan.echo or statement.table.primary_key.columns))
        compiled = statement.compile(dialect=dialect, column_keys=keys)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(f"plan {plan.name} is not a statement: {plan.statement!r}")
        self.plan = plan
        self.text = str(compiled)
        self.writes = bool(compiled.isinsert or compiled.isupdate or compiled.isdelete) or _changes_within(compiled)
        self.tells = written(compiled)  # the followed tables that have changed when it is committed
        prefetched = {column.key: column for column in (*compiled.insert_prefetch, *compiled.update_prefetch)}
        self.binds = tuple(
            bind_of(name, compiled.binds[name], prefetched, plan, dialect) for name in compiled.positiontup or ()
        )
        self.arguments = Filling(plan.name, self.binds)
        entries = list(compiled._result_columns)  # noqa: SLF001
        self.echo: Sequence[tuple[bool, int]] | None = None
        self.make: RowMaker[T] = (
            self._maker(entries, dialect) if plan.echo is None else self._echo_maker(plan.echo, dialect)
        )
        self.together, self._arrays = _joined(plan, self.binds, dialect)

    def _maker(self, entries: Sequence[Any], dialect: Dialect) -> RowMaker[Any]:
        rows = self.plan.rows
        processors = [_loader(entry.type, dialect) for entry in entries]
        if rows is None:
            return value_maker(processors) if processors else (lambda row: row)
        mapper: Mapper[Any] | None = getattr(rows, "__mapper__", None)
        if mapper is None:
            return record_maker(rows, processors)
        return instance_maker(mapper, [_attribute(mapper, entry) for entry in entries], processors)

    def _echo_maker(self, made: Sequence[Column[Any]], dialect: Dialect) -> RowMaker[Any]:
        """Make the instance of what was bound, completed by what the database made: the row is not sent back."""
        mapper: Mapper[Any] = self.plan.rows.__mapper__  # type: ignore[union-attr]
        returned = {column.name: place for place, column in enumerate(made)}
        bound = {bind.name: place for place, bind in enumerate(self.binds)}
        columns = list(mapper.columns)
        self.echo = [
            (True, returned[column.name]) if column.name in returned else (False, bound[column.key])
            for column in columns
        ]
        keys = [mapper.get_property_by_column(column).key for column in columns]
        return instance_maker(mapper, keys, [_loader(column.type, dialect) for column in columns])

    def told(self, last_id: int | None) -> list[Row]:
        """Return the row of what SQLite made: the id, and 0 for the number of the transaction."""
        return [[last_id if column.identity is not None else 0 for column in self.plan.echo or ()]]

    def answer(self, arguments: Sequence[Any], row: Row) -> T:
        """Return what one row of the driver is to the caller."""
        if self.echo is not None:
            row = [row[place] if made else arguments[place] for made, place in self.echo]
        return self.make(row)

    @property
    def passes_by(self) -> bool:
        """Whether a call that the joined statement does not answer may only have met a lock."""
        return self.plan.together is not None and self.plan.together.passes_by

    def gather(self, calls: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Return the arguments of many calls as the arrays the joined statement takes."""
        return [[call[place] for call in calls] for place in self._arrays]

    def deal(self, calls: Sequence[Sequence[Any]], rows: list[Row]) -> list[Any]:
        """Return each caller's answer from the rows of the joined statement."""
        if self.plan.together is not None and self.plan.together.in_order:
            if len(rows) != len(calls):
                raise Unavailable(
                    f"{self.plan.name}: {len(calls)} rows were sent and {len(rows)} stored; a trigger took some"
                )
            rows.sort(key=_first)
            return [self.answer(call, row) for call, row in zip(calls, rows, strict=True)]
        answers: list[Any] = [ALONE if self.passes_by else None] * len(calls)
        for row in rows:
            place = row[-1] - 1
            answers[place] = self.answer(calls[place], row)
        return answers

    def named(self, text: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return the driver's arguments by name: those of the plan's text, or the arrays of the joined one."""
        names = [bind.name for bind in self.binds]
        if text == self.together:
            names = [names[place] for place in self._arrays]
        return dict(zip(names, arguments, strict=True))


def _changes_within(compiled: SQLCompiler) -> bool:
    """Tell whether a SELECT changes rows in a WITH clause."""
    return any(getattr(cte.element, "is_dml", False) for cte in compiled.ctes or ())


def _first(row: Row) -> Any:
    return row[0]


def batched(calls: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield runs of at most ``most``."""
    for first in range(0, len(calls), most):
        yield calls[first : first + most]


def _joined(plan: Plan[Any], binds: Sequence[Bind], dialect: Dialect) -> tuple[str | None, list[int]]:
    """Return the text that answers many calls, when the dialect passes arrays, and which argument each array is of."""
    if plan.together is None or not dialect_passes_arrays(dialect):
        return None, []
    compiled = plan.together.statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    names = [bind.name for bind in binds]
    return str(compiled), [names.index(name) for name in compiled.positiontup]


def dialect_passes_arrays(dialect: Dialect) -> bool:
    """Tell whether an argument may be an array."""
    return dialect.name == "postgresql"


def dialect_tells_id(dialect: Dialect) -> bool:
    """Tell whether the driver tells the last inserted row's id without being asked for it in the statement."""
    return dialect.name == "sqlite"


def _loader(type_: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    if isinstance(type_, Word):
        return type_.loader(dialect.name)  # without the detour around None: the row makers go around it
    return type_._cached_result_processor(dialect, None)  # noqa: SLF001


def _attribute(mapper: Mapper[Any], entry: Any) -> str:
    """Return the mapped attribute that a result column fills."""
    for candidate in entry.objects:
        if isinstance(candidate, Column) and mapper.columns.contains_column(candidate):
            return mapper.get_property_by_column(candidate).key
    for column in mapper.columns:
        if column.name == entry.name:
            return mapper.get_property_by_column(column).key
    raise TypeError(f"a row of {mapper.class_.__name__} has no place for {entry.name}")
