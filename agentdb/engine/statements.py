"""The statements every table has: insert one, insert many, find by key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Insert, Table, and_, bindparam, column, func, insert, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import Executable, FromClause
from sqlalchemy.types import TypeEngine

from agentdb.engine import violations
from agentdb.engine.columns import bound_columns, column_default, generated, of
from agentdb.engine.functions import writing_transaction
from agentdb.engine.plan import Compiled, Plan, Together
from agentdb.engine.spelling import ListType
from agentdb.errors import AgentDBError, BadInput, Conflict, MissingReference

T = TypeVar("T")
S = TypeVar("S", bound=Insert)

ROWS_PER_TURN: Final = 200  # of the event loop: a millisecond or two


def given_arrays(**columns: TypeEngine[Any]) -> FromClause:
    """Return what callers gave, one array for each column, as rows with their ordinal: ``given.ordinal`` from 1."""
    arrays = [bindparam(name, type_=ListType(kind)) for name, kind in columns.items()]
    return (
        func.unnest(*arrays)
        .table_valued(*(column(name, kind) for name, kind in columns.items()), with_ordinality="ordinal", name="given")
        .render_derived(name="given")
    )


@cache
def insert_one(model: type[T]) -> Plan[T]:
    """Return the plan that inserts a row and gives it back: only what the database made is sent over the wire."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    made = [column for column in table.columns if generated(column)]
    columns = bound_columns(table)
    return Plan(
        _numbered(insert(table)),
        name=f"{table.name}.add",
        rows=model,
        columns=[column.key for column in columns],
        echo=made,
        together=Together(_insert_together(table, columns, made), in_order=True) if _joins(table, made) else None,
    )


def _numbered(statement: S) -> S:
    """Let a row bring the number of its change, where SQLite counts them: its trigger comes after RETURNING."""
    table: Any = statement.table
    return statement.values(tx=writing_transaction()) if "numbered" in table.info else statement


def _joins(table: Table, made: Sequence[Column[Any]]) -> bool:
    """Tell whether callers of one insert know their rows: by rising ids, or because the database makes nothing."""
    return not made or any(column.identity is not None for column in table.primary_key)


def _insert_together(table: Table, columns: Sequence[Column[Any]], made: Sequence[Column[Any]]) -> Executable:
    """Insert many callers' rows: their ids rise in the order the callers came.

    Source: the same guarantee SQLAlchemy's insertmanyvalues rests on (INSERT ... SELECT ... ORDER BY).
    """
    given = given_arrays(**{column.key: column.type for column in columns})
    rows = select(*(given.c[column.key] for column in columns)).order_by(literal_column("given.ordinal"))
    return (
        insert(table)
        .from_select([column.key for column in columns], rows, include_defaults=False)
        .returning(*(made or table.primary_key.columns))
    )


def insert_into(table: Table) -> postgresql.Insert:
    """Return an INSERT that can say what a conflict means.

    Both databases speak ON CONFLICT alike; SQLAlchemy has one construct for each, and compiles either for both.
    """
    return postgresql.insert(table)


@cache
def insert_or_update(
    model: type[T], on: tuple[str, ...], given: frozenset[str], alike: tuple[str, ...] = ()
) -> Plan[T]:
    """Return the plan that inserts a row, or changes the one with the same values in the columns ``on``.

    Args: alike: columns in which that one is to be the same too, null or not; if not, it stays, and no row comes back.
    Raises: BadInput when nothing makes these columns unique together.
    """
    table: Table = model.__table__  # type: ignore[attr-defined]
    if not any({column.key for column in columns} == set(on) for _, columns in violations.uniques(table)):
        raise BadInput(f"{table.name}: nothing makes ({', '.join(on)}) unique together; an upsert needs that")
    statement = _numbered(insert_into(table))
    changes: dict[str, Any] = {key: statement.excluded[key] for key in sorted(given - set(on))}
    changes |= {column.key: statement.excluded[column.key] for column in table.columns if column.onupdate is not None}
    if "version" in table.c and "version" not in given:
        changes["version"] = table.c.version + 1
    if not changes:  # the row that is there is returned only when it is touched
        changes = {on[0]: statement.excluded[on[0]]}
    same = [table.c[name].is_not_distinct_from(statement.excluded[name]) for name in alike]
    upsert = statement.on_conflict_do_update(index_elements=list(on), set_=changes, where=and_(*same) if same else None)
    columns = [column.key for column in bound_columns(table)]
    return Plan(upsert.returning(table), name=f"{table.name}.upsert", rows=model, columns=columns)


@cache
def insert_unless_there(model: type[T], on: tuple[str, ...]) -> Plan[T]:
    """Return the plan that inserts a row, or gives no row when one has the same values in the columns ``on``.

    Args: on: empty for any unique columns.
    """
    table: Table = model.__table__  # type: ignore[attr-defined]
    statement = _numbered(insert_into(table)).on_conflict_do_nothing(index_elements=list(on) or None)
    columns = [column.key for column in bound_columns(table)]
    return Plan(statement.returning(table), name=f"{table.name}.add_unless_there", rows=model, columns=columns)


@cache
def insert_once(model: type[T], on: str) -> Plan[T]:
    """Return the plan that inserts a row, or gives no row when one has the same value in the column ``on``.

    As `insert_unless_there`, but many calls may be one statement: of those with the same value the first is stored.
    """
    table: Table = model.__table__  # type: ignore[attr-defined]
    columns = bound_columns(table)
    keys = [column.key for column in columns]
    single = insert_into(table).on_conflict_do_nothing(index_elements=[on]).returning(table)
    given = given_arrays(**{column.key: column.type for column in columns})
    stored = (
        insert_into(table)
        .from_select(keys, select(*(given.c[key] for key in keys)).order_by(given.c.ordinal), include_defaults=False)
        .on_conflict_do_nothing(index_elements=[on])
        .returning(table)
        .cte("stored")
    )
    again = given_arrays(**{on: table.c[on].type})
    firsts = select(again.c[on], func.min(again.c.ordinal).label("ordinal")).group_by(again.c[on]).subquery("firsts")
    together = select(*(stored.c[column.key] for column in table.columns), firsts.c.ordinal).join_from(
        stored, firsts, firsts.c[on] == stored.c[on]
    )
    return Plan(single, name=f"{table.name}.add_once", rows=model, columns=keys, together=Together(together))


@cache
def by_key(model: type[T]) -> Plan[T]:
    """Return the plan that finds a row by its primary key."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    key = list(table.primary_key.columns)
    statement = select(model).where(*(column == of(column) for column in key))
    given = given_arrays(**{column.key: column.type for column in key})
    joined: Executable = select(model, literal_column("given.ordinal")).select_from(
        given.join(table, and_(*(column == given.c[column.key] for column in key)))
    )
    return Plan(statement, name=f"{table.name}.get", rows=model, point=True, together=Together(joined))


@cache
def _bulk(table: Table, keys: tuple[str, ...]) -> Plan[None]:
    return Plan(insert(table), name=f"{table.name}.pour", columns=keys)


def bulk_plan(table: Table, rows: Sequence[Mapping[str, Any]]) -> Plan[None]:
    """Return the plan that inserts these rows: every column the library binds, and the key when the rows bring one."""
    brought = [column.key for column in table.columns if generated(column) and column.key in rows[0]]
    return _bulk(table, (*brought, *(column.key for column in bound_columns(table))))


async def records_of(
    compiled: Compiled[Any], rows: Iterable[Mapping[str, Any]], now: datetime
) -> AsyncIterator[list[Any]]:
    """Yield the driver's arguments of many rows; the event loop has its turn in between.

    Raises: BadInput naming the first row that cannot be stored.
    """
    arguments = compiled.arguments
    for place, row in enumerate(rows):
        try:
            record = arguments(row, now)
        except BadInput as error:
            raise BadInput(f"{error} (row {place} of the call)") from None
        yield record
        if place % ROWS_PER_TURN == ROWS_PER_TURN - 1:
            await asyncio.sleep(0)


def with_defaults(model: type[Any], values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a row's values with the defaults of those that are not given.

    Raises: BadInput for a value that is required or unknown.
    """
    table: Table = model.__table__
    complete = dict(values)
    for bound in bound_columns(table):
        if bound.key not in complete:
            default = column_default(bound, inserting=True)
            if default is None:
                raise BadInput(f"{table.name}.{bound.name} is required")
            complete[bound.key] = default(now)
    return complete


def with_row(error: AgentDBError, row: int) -> AgentDBError:
    """Return an error that names the row of a bulk call it is about."""
    if isinstance(error, BadInput):
        return BadInput(f"{error} (row {row} of the call)")
    if isinstance(error, Conflict):
        return Conflict(f"{error} (row {row} of the call)", constraint=error.constraint, row=row)
    if isinstance(error, MissingReference):
        return MissingReference(f"{error} (row {row} of the call)", constraint=error.constraint)
    return error
