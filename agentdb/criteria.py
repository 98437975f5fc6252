"""Criteria, and the plans of the generic repository: one for each shape of a call, made at the first of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Delete, Select, Table, bindparam, delete, func, literal, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.engine.columns import of
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.spelling import JsonType
from agentdb.errors import BadInput, brief

E = TypeVar("E", bound=Entity)

_COMPARISONS: Final[Mapping[str, Callable[[Column[Any], str], ColumnElement[bool]]]] = {
    "": lambda column, name: column == of(column, name),
    "ne": lambda column, name: column.is_distinct_from(of(column, name)),
    "lt": lambda column, name: column < of(column, name),
    "le": lambda column, name: column <= of(column, name),
    "gt": lambda column, name: column > of(column, name),
    "ge": lambda column, name: column >= of(column, name),
    "in": among,
}

Shape = tuple[tuple[str, str, bool], ...]  # column, operator, whether it is compared with null


def shape_of(model: type[Entity], criteria: Mapping[str, Any]) -> Shape:
    """Return what a call's criteria look like without their values: calls of one shape share a plan.

    Raises: BadInput for an unknown column or operator.
    """
    shape = []
    for criterion, value in criteria.items():
        name, _, operator = criterion.partition("__")
        if operator not in _COMPARISONS:
            known = ", ".join(filter(None, _COMPARISONS))
            raise BadInput(f"{criterion}: there is no operator {operator!r}; there are {known}")
        if value is None and operator not in {"", "ne"}:
            raise BadInput(f"{criterion}: null is neither more nor less than anything; compare with = or __ne")
        column_of(model, name)
        shape.append((name, operator, value is None))
    return tuple(shape)


def values_given(criteria: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are bound: a null is part of the shape."""
    return {criterion: value for criterion, value in criteria.items() if value is not None}


def table_of(model: type[Entity]) -> Table:
    """Return the table a model is mapped to."""
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


@cache
def key_names(model: type[Entity]) -> tuple[str, ...]:
    """Return the names of the primary key's columns."""
    return tuple(column.key for column in table_of(model).primary_key)


def column_of(model: type[Entity], name: str) -> Column[Any]:
    """Return a column by its name.

    Raises: BadInput when there is none.
    """
    given: object = name
    column = table_of(model).c.get(name) if isinstance(given, str) else None
    if column is None:
        raise BadInput(f"{model.__tablename__} has no column {brief(name)}")
    return column


def _conditions(model: type[Entity], shape: Shape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for name, operator, null in shape:
        column = column_of(model, name)
        if isinstance(column.type, JsonType) and not null:
            raise BadInput(
                f"{criterion_of(name, operator)}: JSON is not compared; select with SQL through unit.session"
            )
        if null:
            conditions.append(column.is_(None) if operator == "" else column.is_not(None))
        else:
            conditions.append(_COMPARISONS[operator](column, criterion_of(name, operator)))
    return conditions


def criterion_of(name: str, operator: str) -> str:
    """Return the keyword a criterion was given as."""
    return f"{name}__{operator}" if operator else name


@cache
def update_plan(model: type[E], changes: frozenset[str], versioned: bool) -> Plan[E]:
    """Return the plan that changes columns of one row, and counts up its version when it has one."""
    table = table_of(model)
    statement = update(table).where(*(column == of(column, f"key_{column.key}") for column in table.primary_key))
    if versioned:
        if "version" not in table.c:
            raise BadInput(f"{table.name} has no version to expect")
        statement = statement.where(table.c.version == of(table.c.version, "expected_version"))
    if "version" in table.c and "version" not in changes:
        statement = statement.values(version=table.c.version + 1)
    return Plan(statement.returning(table), name=f"{table.name}.update", rows=model, columns=sorted(changes))


@cache
def delete_plan(model: type[Entity]) -> Plan[None]:
    """Return the plan that removes a row by its key."""
    table = table_of(model)
    statement: Delete = delete(table).where(*(column == of(column) for column in table.primary_key))
    return Plan(statement, name=f"{table.name}.remove")


@cache
def exists_plan(model: type[Entity], shape: Shape) -> Plan[int]:
    """Return the plan that finds any row of a shape."""
    statement = select(literal(1)).select_from(model).where(*_conditions(model, shape)).limit(1)
    return Plan(statement, name=f"{model.__tablename__}.exists")


@cache
def count_plan(model: type[Entity], shape: Shape) -> Plan[int]:
    """Return the plan that counts the rows of a shape."""
    statement = select(func.count()).select_from(model).where(*_conditions(model, shape))
    return Plan(statement, name=f"{model.__tablename__}.count")


def order_of(model: type[Entity], by: str | None) -> list[Column[Any]]:
    """Return the columns a page is sorted by: the one that was asked for, and the key.

    Raises: BadInput for one that may be null.
    """
    key = list(table_of(model).primary_key)
    if by is None or [by] == [column.key for column in key]:
        return key
    column = column_of(model, by)
    if column.nullable:
        raise BadInput(f"{model.__tablename__}.{by} may be null, and a page cannot be sorted by it")
    return [column, *key]


@cache
def page_plan(model: type[E], shape: Shape, by: str | None, newest_first: bool, after: bool) -> Plan[E]:
    """Return the plan that reads a page of the rows of a shape."""
    order = order_of(model, by)
    statement: Select[Any] = select(model).where(*_conditions(model, shape))
    if after:
        statement = statement.where(beyond(order, newest_first=newest_first))
    statement = statement.order_by(*(column.desc() if newest_first else column for column in order))
    return Plan(statement.limit(bindparam("limit")), name=f"{model.__tablename__}.page", rows=model)


def beyond(order: Sequence[Column[Any]], *, newest_first: bool) -> ColumnElement[bool]:
    """Return the condition that a row comes after a cursor's place.

    A row value: the index finds the place at once. Spelled with OR, PostgreSQL reads every row before it.
    """
    places = tuple_(*(of(column, f"after_{place}") for place, column in enumerate(order)))
    return tuple_(*order) < places if newest_first else tuple_(*order) > places


@cache
def stream_plan(model: type[E], shape: Shape) -> Plan[E]:
    """Return the plan that reads all rows of a shape in the order of their key."""
    statement = select(model).where(*_conditions(model, shape)).order_by(*model.__mapper__.primary_key)
    return Plan(statement, name=f"{model.__tablename__}.stream", rows=model)
