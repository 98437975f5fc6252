"""What every table can do: find, get, add, update, upsert, remove, exists, count, page, stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from agentdb.base import Entity
from agentdb.criteria import (
    column_of,
    count_plan,
    delete_plan,
    exists_plan,
    key_names,
    order_of,
    page_plan,
    shape_of,
    stream_plan,
    table_of,
    update_plan,
    values_given,
)
from agentdb.engine.asked import is_text, several
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.engine.statements import by_key, insert_one, insert_or_update
from agentdb.errors import BadInput, NotFound, ReadOnly, StaleVersion, brief
from agentdb.page import Page, cursor_of, values_of

E = TypeVar("E", bound=Entity)
R = TypeVar("R")

MOST: Final = 1_000
_FIXED: Final = frozenset({"uuid", "created_at"})  # what a row is known by elsewhere, and when it began


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
        given = list(several(rows, "rows"))
        for place, row in enumerate(given):
            if not isinstance(row, Mapping):
                raise BadInput(f"row {place}: a row is given as an object, not {type(row).__name__}")
        return await self.connection.insert_many(table_of(self._model), given)

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> E:
        """Change columns of a row, and return the row.

        Args: expected_version: change it only if it still has this version; a row that has one counts it up.
        Raises: NotFound; ReadOnly within a user's scope, for what is everybody's; StaleVersion when somebody else was
            first; Conflict, MissingReference; BadInput, also for what
            never changes: a key, ``uuid``, ``created_at``; and for ``version``, which counts itself.
        Cost: one statement.
        """
        self.check_changes(changes)
        plan = update_plan(self._model, frozenset(changes), expected_version is not None)
        values = {f"key_{name}": value for name, value in self._key(key).items()}
        if expected_version is not None:
            values["expected_version"] = expected_version
        row: E | None = await self.connection.fetch_one(plan, {**changes, **values})
        if row is None:
            present = await self.get(*key)
            if expected_version is None:
                raise ReadOnly(
                    f"{self.model.__tablename__} {_shown(key)} is everybody's, and is not changed within a user's scope"
                )
            raise StaleVersion(
                f"{self.model.__tablename__} {_shown(key)} is at version {getattr(present, 'version', None)}, "
                f"not {expected_version}; read it again"
            )
        return row

    async def upsert(self, *, on: Sequence[str], **values: Any) -> E:
        """Add a row, or, when one has the same values in the columns ``on``, change that one; return it either way.

        Raises: BadInput when ``on`` is not unique together, or for a value that never changes, as in `update`, unless
            it is one of ``on``; Conflict on another unique column.
        Cost: one statement.
        """
        self.check_changes(values, on)
        row: E | None = await self.connection.fetch_one(
            insert_or_update(self._model, tuple(on), frozenset(values)), values
        )
        return self._there(row)

    async def remove(self, *key: Any) -> bool:
        """Remove a row, and tell whether it was there.

        Raises: Conflict when other rows still refer to it and may not be left without.
        """
        return await self.connection.execute(delete_plan(self._model), self._key(key)) > 0

    async def exists(self, **criteria: Any) -> bool:
        """Tell whether any row meets the criteria."""
        plan = self._seen(exists_plan(self._model, shape_of(self._model, criteria)))
        return await self.connection.fetch_one(plan, {**values_given(criteria), **self._moment()}) is not None

    async def count(self, **criteria: Any) -> int:
        """Return how many rows meet the criteria."""
        plan = self._seen(count_plan(self._model, shape_of(self._model, criteria)))
        many: int | None = await self.connection.fetch_one(plan, {**values_given(criteria), **self._moment()})
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
        limit, newest_first = capped(limit, self.most), bool(newest_first)
        order = order_of(self._model, by)
        shape = shape_of(self._model, criteria)
        listing = f"{self.model.__tablename__}:{by}:{newest_first}:{shape}"
        plan = self._seen(page_plan(self._model, shape, by, newest_first, after is not None))
        values = {**values_given(criteria), **self._moment(), "limit": limit + 1}
        if after is not None:
            places = values_of(listing, after, order)
            values |= {f"after_{place}": value for place, value in enumerate(places)}
        rows = await self.connection.fetch_all(plan, values)
        return page_of(rows, limit, listing, [column.key for column in order])

    async def stream(self, **criteria: Any) -> AsyncIterator[E]:
        """Yield all rows that meet the criteria, in the order of their key, from one snapshot."""
        plan = self._seen(stream_plan(self._model, shape_of(self._model, criteria)))
        async for row in self.connection.stream(plan, {**values_given(criteria), **self._moment()}):
            yield row

    def check_changes(self, values: Mapping[str, Any], on: Sequence[str] = ()) -> None:
        """Check that columns may be given new values.

        Args: on: of an upsert: which columns make a row the same.
        Raises: BadInput for an unknown column, one that never changes, or none; and for ``on`` that no value is of.
        """
        table = self.model.__tablename__
        if not values:
            raise BadInput(f"nothing to change in {table}")
        given: object = on
        if not isinstance(given, Collection) or is_text(on) or not all(is_text(name) and name in values for name in on):
            raise BadInput(f"an upsert into {table} names, in a list, columns it has values for, not {brief(on)}")
        for name in values:
            column_of(self._model, name)
            if name in on:
                continue
            if name == "version":
                raise BadInput(f"{table}.version counts itself; pass expected_version to compare it")
            if name in _FIXED or name in key_names(self._model):
                raise BadInput(f"{table}.{name} never changes once a row is added; add another row")

    def _seen(self, plan: Plan[Any]) -> Plan[Any]:
        """Return a plan of many rows as it is run: here, of all."""
        return plan

    def _moment(self) -> dict[str, Any]:
        """Return what `_seen` binds besides."""
        return {}

    @property
    def _model(self) -> type[E]:
        return self.model  # type: ignore[return-value]

    def _key(self, key: Sequence[Any]) -> dict[str, Any]:
        names = key_names(self._model)
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
        raise BadInput(f"a limit is a whole number from 1, not {brief(limit)}")
    return min(limit, most)


def page_of(rows: list[R], limit: int, listing: str, keys: Sequence[str]) -> Page[R]:
    """Return a page of rows that were read one beyond the limit."""
    if len(rows) <= limit:
        return Page(rows, None)
    items = rows[:limit]
    return Page(items, cursor_of(listing, [getattr(items[-1], key) for key in keys]))


def _shown(key: Sequence[Any]) -> str:
    return repr(key[0]) if len(key) == 1 else repr(tuple(key))
