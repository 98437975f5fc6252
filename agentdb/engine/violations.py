"""What a broken constraint is told as: the same words, and the same constraint name, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy.sql.elements import ColumnElement

from agentdb.engine.blobs import SecretType
from agentdb.engine.plan import Plan
from agentdb.engine.spelling import DigestType
from agentdb.errors import BadInput, Conflict, MissingReference, ReadOnly


def table_of(plan: Plan[Any] | None) -> Table | None:
    """Return the table a plan writes, when it is one."""
    table = getattr(getattr(plan, "statement", None), "table", None)
    return table if isinstance(table, Table) else None


def uniques(table: Table) -> Iterator[tuple[str, tuple[Column[Any], ...]]]:
    """Yield the name and the columns of everything that is unique in a table."""
    yield str(table.primary_key.name), tuple(table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield str(constraint.name), tuple(constraint.columns)
    for index in table.indexes:
        if index.unique:
            yield str(index.name), tuple(index.columns)


def unique_named(table: Table, columns: set[str]) -> str:
    """Return the name of what makes these columns unique: SQLite tells the columns, PostgreSQL the name."""
    for name, unique in uniques(table):
        if {column.name for column in unique} == columns:
            return name
    return f"uq_{table.name}__{'_'.join(sorted(columns))}"


def _columns(table: Table, constraint: str) -> tuple[Column[Any], ...]:
    for name, columns in uniques(table):
        if name == constraint:
            return columns
    for foreign_key in table.foreign_key_constraints:
        if foreign_key.name == constraint:
            return tuple(foreign_key.columns)
    return ()


def _told(columns: tuple[Column[Any], ...], values: Mapping[str, Any]) -> str:
    """Return the columns, and their values where they are no secret."""
    told = []
    for column in columns:
        value = values.get(column.key)
        hidden = value is None or isinstance(column.type, DigestType | SecretType) or isinstance(value, ColumnElement)
        told.append(column.name if hidden else f"{column.name} {str(value)[:80]!r}")
    return " and ".join(told)


def taken(table: Table | None, constraint: str, values: Mapping[str, Any], row: int | None = None) -> Conflict:
    """Return the error for a value that is taken already."""
    name = table.name if table is not None else "row"
    told = _told(_columns(table, constraint), values) if table is not None else ""
    where = "" if row is None else f" (row {row} of the call)"
    return Conflict(
        f"{name}: {told or constraint} is taken already; choose another or update that row{where}",
        constraint=constraint,
        row=row,
    )


def missing(table: Table | None, constraint: str, values: Mapping[str, Any]) -> MissingReference:
    """Return the error for a reference to a row that is not there."""
    if table is None:
        return MissingReference(f"{constraint}: the row referred to does not exist", constraint=constraint)
    for foreign_key in table.foreign_key_constraints:
        if foreign_key.name == constraint:
            told = _told(tuple(foreign_key.columns), values)
            return MissingReference(
                f"{table.name}: no row of {foreign_key.referred_table.name} for {told}; add it first",
                constraint=constraint,
            )
    return MissingReference(f"{table.name}: {constraint} names a row that does not exist", constraint=constraint)


def still_referred(table: Table, constraint: str) -> Conflict:
    """Return the error for a row that others refer to and that may therefore not go."""
    return Conflict(
        f"{table.name}: the row is still referred to ({constraint}); remove those rows first", constraint=constraint
    )


def refused(table: Table | None, constraint: str) -> BadInput:
    """Return the error for a value a CHECK refuses."""
    return BadInput(f"{table.name if table is not None else 'row'}: {constraint} refuses this value")


def required(table: Table | None, column: str) -> BadInput:
    """Return the error for a column that must have a value."""
    return BadInput(f"{table.name if table is not None else 'row'}.{column} is required")


def append_only(table: Table | None) -> ReadOnly:
    """Return the error for a change to what never changes."""
    return ReadOnly(f"{table.name if table is not None else 'this table'} is append-only: its rows never change")
