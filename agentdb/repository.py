"""What every table can do: find, get, add, update, upsert, remove, exists, count, page, stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Final, Generic, TypeVar

from sqlalchemy import Column, Delete, Select, Table, bindparam, delete, func, literal, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.engine.connection import Connection
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan, of
from agentdb.engine.spelling import JsonType
from agentdb.engine.statements import by_key, insert_one, insert_or_update
from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.page import Page, cursor_of, values_of

E = TypeVar("E", bound=Entity)

MOST: Final = 1_000

_COMPARISONS: Final[Mapping[str, Callable[[Column[Any], str], ColumnElement[bool]]]] = {
    "": lambda column, name: column == of(column, name),
    "ne": lambda column, name: column.is_distinct_from(of(column, name)),
    "lt": lambda column, name: column < of(column, name),
    "le": lambda column, name: column <= of(column, name),
    "gt": lambda column, name: column > of(column, name),
    "ge": lambda column, name: column >= of(column, name),
    "in": among,
}


class Aggregate:
    """The repositories of one aggregate over one connection."""

    def __init__(self, connection: Connection, *, most: int = MOST) -> None:
        self.connection = connection
        self.most = most


class Repository(Generic[E]):
    """The rows of one table.

    Criteria are keywords: ``status="active"`` (None: is null), or with an operator behind two underscores,
    ``created_at__ge=monday``: ne, lt, le, gt, ge, in.

    Args:
        connection: the database itself, each call its own transaction, or an open unit.
        most: the cap on every limit.
    """

    model: ClassVar[type[Entity]]

    def __init__(self, connection: Connection, *, most: int = MOST) -> None:
        self.connection = connection
        self.most = most

    async def find(self, *key: Any) -> E | None:
        """Return the row with this primary key, or None.

        Cost: one read by the primary key; concurrent calls share one.
        """
        row: E | None = await self.connection.fetch_one(by_key(self._model), self._key(key))
        return row

    async def get(self, *key: Any) -> E:
        """Return the row with this primary key.

        Raises: NotFound when there is none.
        """
        row: E | None = await self.connection.fetch_one(by_key(self._model), self._key(key))
        if row is None:
            raise NotFound(f"{self.model.__tablename__} has no row {_shown(key)}")
        return row

    async def add(self, **values: Any) -> E:
        """Add a row, and return it with what the library and the database gave it.

        Raises: BadInput, Conflict, MissingReference.
        Cost: one insert; concurrent calls share one.
        """
        row: E | None = await self.connection.fetch_one(insert_one(self._model), values)
        return self._there(row)

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows in bulk, all or none, and return how many.

        Raises: BadInput, Conflict and MissingReference, each naming the first offending row.
        """
        return await self.connection.insert_many(_table(self._model), rows)

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> E:
        """Change columns of a row, and return the row.

        Args: expected_version: change it only if it still has this version; a row that has one counts it up.
        Raises: NotFound; StaleVersion when somebody else was first; Conflict, MissingReference, BadInput.
        Cost: one statement.
        """
        if not changes:
            raise BadInput(f"nothing to change in {self.model.__tablename__}")
        for name in changes:
            _column(self._model, name)
        plan = _update_plan(self._model, frozenset(changes), expected_version is not None)
        values = {f"key_{name}": value for name, value in self._key(key).items()}
        if expected_version is not None:
            values["expected_version"] = expected_version
        row: E | None = await self.connection.fetch_one(plan, {**changes, **values})
        if row is None:
            present = await self.get(*key)
            raise StaleVersion(
                f"{self.model.__tablename__} {_shown(key)} is at version {getattr(present, 'version', None)}, "
                f"not {expected_version}; read it again"
            )
        return row

    async def upsert(self, *, on: Sequence[str], **values: Any) -> E:
        """Add a row, or, when one has the same values in the columns ``on``, change that one; return it either way.

        Raises: BadInput when ``on`` is not unique together; Conflict on another unique column.
        Cost: one statement.
        """
        for name in values:
            _column(self._model, name)
        row: E | None = await self.connection.fetch_one(
            insert_or_update(self._model, tuple(on), frozenset(values)), values
        )
        return self._there(row)

    async def remove(self, *key: Any) -> bool:
        """Remove a row, and tell whether it was there.

        Raises: Conflict when other rows still refer to it and may not be left without.
        """
        return await self.connection.execute(_delete_plan(self._model), self._key(key)) > 0

    async def exists(self, **criteria: Any) -> bool:
        """Tell whether any row meets the criteria."""
        plan = _exists_plan(self._model, _shape(self._model, criteria))
        return await self.connection.fetch_one(plan, _values(criteria)) is not None

    async def count(self, **criteria: Any) -> int:
        """Return how many rows meet the criteria."""
        plan = _count_plan(self._model, _shape(self._model, criteria))
        many: int | None = await self.connection.fetch_one(plan, _values(criteria))
        return many or 0

    async def page(
        self,
        *,
        by: str | None = None,
        newest_first: bool = False,
        limit: int = 50,
        after: str | None = None,
        **criteria: Any,
    ) -> Page[E]:
        """Return a page of the rows that meet the criteria.

        Args:
            by: the column to sort by, never null; rows that are equal in it follow their key. By default the key.
            newest_first: the largest first.
            limit: how many rows, from 1; more than the cap is the cap.
            after: the ``next`` of the page before.
            criteria: what the rows meet.

        Raises: BadInput for an unknown column or operator, a limit below 1, or a cursor of another list.
        Cost: one read; as quick at the millionth row as at the first when an index begins with the criteria and ``by``.
        """
        limit = capped(limit, self.most)
        order = _order(self._model, by)
        shape = _shape(self._model, criteria)
        listing = f"{self.model.__tablename__}:{by}:{newest_first}:{shape}"
        plan = _page_plan(self._model, shape, by, newest_first, after is not None)
        values = {**_values(criteria), "limit": limit + 1}
        if after is not None:
            places = values_of(listing, after, order)
            values |= {f"after_{place}": value for place, value in enumerate(places)}
        rows = await self.connection.fetch_all(plan, values)
        return page_of(rows, limit, listing, [column.key for column in order])

    async def stream(self, **criteria: Any) -> AsyncIterator[E]:
        """Yield all rows that meet the criteria, in the order of their key, from one snapshot."""
        plan = _stream_plan(self._model, _shape(self._model, criteria))
        async for row in self.connection.stream(plan, _values(criteria)):
            yield row

    @property
    def _model(self) -> type[E]:
        return self.model  # type: ignore[return-value]

    def _key(self, key: Sequence[Any]) -> dict[str, Any]:
        names = _key_names(self._model)
        if len(key) != len(names):
            raise BadInput(f"the key of {self.model.__tablename__} is ({', '.join(names)}), not {_shown(key)}")
        return dict(zip(names, key, strict=True))

    def _there(self, row: E | None) -> E:
        if row is None:
            raise NotFound(f"{self.model.__tablename__}: the row was not stored; a trigger or a rule took it away")
        return row


def capped(limit: int, most: int) -> int:
    """Return a limit that is not above the cap.

    Raises: BadInput when it is not a whole number from 1.
    """
    if type(limit) is not int or limit < 1:
        raise BadInput(f"a limit is a whole number from 1, not {limit!r}")
    return min(limit, most)


def page_of(rows: list[E], limit: int, listing: str, keys: Sequence[str]) -> Page[E]:
    """Return a page of rows that were read one beyond the limit."""
    if len(rows) <= limit:
        return Page(rows, None)
    items = rows[:limit]
    return Page(items, cursor_of(listing, [getattr(items[-1], key) for key in keys]))


def _shown(key: Sequence[Any]) -> str:
    return repr(key[0]) if len(key) == 1 else repr(tuple(key))


# Plans, one for each shape of a call


Shape = tuple[tuple[str, str, bool], ...]  # column, operator, whether it is compared with null


def _shape(model: type[Entity], criteria: Mapping[str, Any]) -> Shape:
    shape = []
    for criterion, value in criteria.items():
        name, _, operator = criterion.partition("__")
        if operator not in _COMPARISONS:
            known = ", ".join(filter(None, _COMPARISONS))
            raise BadInput(f"{criterion}: there is no operator {operator!r}; there are {known}")
        if value is None and operator not in {"", "ne"}:
            raise BadInput(f"{criterion}: null is neither more nor less than anything; compare with = or __ne")
        _column(model, name)
        shape.append((name, operator, value is None))
    return tuple(shape)


def _values(criteria: Mapping[str, Any]) -> dict[str, Any]:
    return {criterion: value for criterion, value in criteria.items() if value is not None}


def _table(model: type[Entity]) -> Table:
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


@cache
def _key_names(model: type[Entity]) -> tuple[str, ...]:
    return tuple(column.key for column in _table(model).primary_key)


def _column(model: type[Entity], name: str) -> Column[Any]:
    column = _table(model).c.get(name)
    if column is None:
        raise BadInput(f"{model.__tablename__} has no column {name!r}")
    return column


def _conditions(model: type[Entity], shape: Shape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for name, operator, null in shape:
        column = _column(model, name)
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
def _update_plan(model: type[E], changes: frozenset[str], versioned: bool) -> Plan[E]:
    table = _table(model)
    statement = update(table).where(*(column == of(column, f"key_{column.key}") for column in table.primary_key))
    if versioned:
        if "version" not in table.c:
            raise BadInput(f"{table.name} has no version to expect")
        statement = statement.where(table.c.version == of(table.c.version, "expected_version"))
    if "version" in table.c and "version" not in changes:
        statement = statement.values(version=table.c.version + 1)
    return Plan(statement.returning(table), name=f"{table.name}.update", rows=model, columns=sorted(changes))


@cache
def _delete_plan(model: type[Entity]) -> Plan[None]:
    table = _table(model)
    statement: Delete = delete(table).where(*(column == of(column) for column in table.primary_key))
    return Plan(statement, name=f"{table.name}.remove")


@cache
def _exists_plan(model: type[Entity], shape: Shape) -> Plan[int]:
    statement = select(literal(1)).select_from(model).where(*_conditions(model, shape)).limit(1)
    return Plan(statement, name=f"{model.__tablename__}.exists")


@cache
def _count_plan(model: type[Entity], shape: Shape) -> Plan[int]:
    statement = select(func.count()).select_from(model).where(*_conditions(model, shape))
    return Plan(statement, name=f"{model.__tablename__}.count")


def _order(model: type[Entity], by: str | None) -> list[Column[Any]]:
    key = list(_table(model).primary_key)
    if by is None or [by] == [column.key for column in key]:
        return key
    column = _column(model, by)
    if column.nullable:
        raise BadInput(f"{model.__tablename__}.{by} may be null, and a page cannot be sorted by it")
    return [column, *key]


@cache
def _page_plan(model: type[E], shape: Shape, by: str | None, newest_first: bool, after: bool) -> Plan[E]:
    order = _order(model, by)
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
def _stream_plan(model: type[E], shape: Shape) -> Plan[E]:
    statement = select(model).where(*_conditions(model, shape)).order_by(*model.__mapper__.primary_key)
    return Plan(statement, name=f"{model.__tablename__}.stream", rows=model)
