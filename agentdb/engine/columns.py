"""What a statement's placeholders are bound with: a processor, and a value for what the caller does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Column, Insert, Integer, Table, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import Executable
from sqlalchemy.sql.elements import BindParameter

from agentdb.engine.functions import writing_transaction
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import Processor, Word

Default = Callable[[datetime], Any]


@dataclass(frozen=True, slots=True)
class Constant:
    """A default that is always the same."""

    value: Any

    def __call__(self, _now: datetime) -> Any:
        """Return it."""
        return self.value


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Bind:
    """One placeholder of a compiled statement."""

    name: str
    label: str  # what an error calls it: table.column where it is one
    process: Processor | None
    default: Default | None  # None: the caller must say


class Statement(Protocol):
    """What a plan tells of its statement."""

    @property
    def statement(self) -> Executable:
        """The statement."""
        ...

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def columns(self) -> Sequence[str] | None:
        """The keys of the columns it binds by name."""
        ...


def bind_of(
    name: str, bind: BindParameter[Any], columns: Mapping[str, Column[Any]], plan: Statement, dialect: Dialect
) -> Bind:
    """Return how a placeholder is filled.

    Args:
        name: the placeholder's.
        bind: what SQLAlchemy knows of it.
        columns: those that SQLAlchemy fills in by itself, by name.
        plan: whose statement it is in.
        dialect: the database's.
    """
    # A word's own processor, without the detour around None: `arguments` goes around it.
    process = (
        bind.type.binder(dialect.name) if isinstance(bind.type, Word) else bind.type._cached_bind_processor(dialect)  # noqa: SLF001
    )
    if process is None and isinstance(bind.type, Integer):  # a key: SQLite would convert what is not a number
        process = WholeType().binder(dialect.name)
    column = columns.get(name)
    table = getattr(plan.statement, "table", None)
    if column is None and isinstance(table, Table) and plan.columns is not None and name in plan.columns:
        column = table.c.get(name)
    label = f"{column.table.name}.{column.name}" if column is not None else f"{plan.name}: {name}"
    if column is not None:
        inserting = isinstance(plan.statement, Insert)
        return Bind(name, label, process, column_default(column, inserting=inserting))
    if bind.required or (bind.value is None and bind.callable is None and not bind.unique):
        return Bind(name, label, process, None)
    return Bind(name, label, process, Constant(bind.effective_value))


def column_default(column: Column[Any], *, inserting: bool) -> Default | None:
    """Return what a column holds when the caller does not say; None when the caller must."""
    if "clock" in column.info:
        return lambda now: now
    default = column.default if inserting else column.onupdate
    if default is not None and default.is_scalar:
        return Constant(default.arg)  # type: ignore[attr-defined]
    if default is not None and default.is_callable:
        make = default.arg  # type: ignore[attr-defined]
        return lambda _now: make(None)
    return Constant(None) if inserting and column.nullable else None


def generated(column: Column[Any]) -> bool:
    """Tell whether the database alone makes this column's value."""
    if column.identity is not None:
        return True
    return isinstance(getattr(column.server_default, "arg", None), writing_transaction)


def bound_columns(table: Table) -> list[Column[Any]]:
    """Return the columns of a table that an insert binds."""
    return [column for column in table.columns if not generated(column)]


def of(column: Column[Any], name: str | None = None) -> BindParameter[Any]:
    """Return a parameter of a column's own type."""
    return bindparam(name or column.key, type_=column.type)
