"""Repositories of rows that are not always shown: what is over, or is of what is deleted, is as good as not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import Any, ClassVar, TypeVar

from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.criteria import (
    count_plan,
    exists_plan,
    order_of,
    page_plan,
    shape_of,
    stream_plan,
    update_plan,
    values_given,
)
from agentdb.engine.plan import Plan, Together
from agentdb.engine.statements import by_key
from agentdb.errors import NotFound, ReadOnly
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of

E = TypeVar("E", bound=Entity)


class Living(Repository[E]):
    """Rows that are shown as long as a condition holds."""

    shown: ClassVar[ColumnElement[bool]]  # whether a row is
    owned: ClassVar[ColumnElement[bool]]  # whether it is of the user bound as ``user_id``
    fleeting: ClassVar[bool] = False  # whether it is shown until a moment: the present one is bound as ``now``

    @property
    def _kind(self) -> Any:
        """The repository's class: a plan is made once for each."""
        return type(self)

    def _moment(self) -> dict[str, Any]:
        return {"now": self.connection.now()} if self.fleeting else {}

    async def find(self, *key: Any, user_id: int | None = None) -> E | None:
        """Return the row with this primary key, or None.

        Args:
            key: the primary key.
            user_id: whose it is; somebody else's is not there.

        Cost: one read by the primary key; concurrent calls share one, where rows are not fleeting.
        """
        values = {**self._key(key), **self._moment()}
        if user_id is not None:
            values["user_id"] = user_id
        row: E | None = await self.connection.fetch_one(_find_plan(self._kind, user_id is not None), values)
        return row

    async def get(self, *key: Any, user_id: int | None = None) -> E:
        """Return the row with this primary key.

        Args:
            key: the primary key.
            user_id: whose it is.

        Raises: NotFound when there is none, or it is somebody else's.
        """
        row = await self.find(*key, user_id=user_id)
        if row is None:
            raise NotFound(f"{self.model.__tablename__} has no row {key[0] if len(key) == 1 else key!r}")
        return row

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> E:
        """Change columns of a row, and return the row.

        Args: expected_version: refused, as these rows have none.
        Raises: NotFound; ReadOnly within a user's scope, for what is everybody's; Conflict, MissingReference; BadInput,
            also for what never changes: a key, ``uuid``, ``created_at``.
        Cost: one statement.
        """
        self.check_changes(changes)
        plan = update_plan(self._model, frozenset(changes), expected_version is not None)
        values = {f"key_{name}": value for name, value in self._key(key).items()} | self._moment()
        row: E | None = await self.connection.fetch_one(_narrowed(plan, self._kind), {**changes, **values})
        if row is None:
            await self.get(*key)
            table = self.model.__tablename__
            raise ReadOnly(f"{table} {key[0]!r} is everybody's, and is not changed within a user's scope")
        return row

    async def exists(self, **criteria: Any) -> bool:
        """Tell whether any row that is shown meets the criteria."""
        plan = _narrowed(exists_plan(self._model, shape_of(self._model, criteria)), self._kind)
        return await self.connection.fetch_one(plan, {**values_given(criteria), **self._moment()}) is not None

    async def count(self, **criteria: Any) -> int:
        """Return how many rows that are shown meet the criteria."""
        plan = _narrowed(count_plan(self._model, shape_of(self._model, criteria)), self._kind)
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
        """Return a page of the rows that are shown and meet the criteria, as every repository does."""
        limit = capped(limit, self.most)
        order = order_of(self._model, by)
        shape = shape_of(self._model, criteria)
        listing = f"{self.model.__tablename__}:{by}:{newest_first}:{shape}"
        plan = _narrowed(page_plan(self._model, shape, by, newest_first, after is not None), self._kind)
        values = {**values_given(criteria), **self._moment(), "limit": limit + 1}
        if after is not None:
            values |= {f"after_{place}": value for place, value in enumerate(values_of(listing, after, order))}
        rows = await self.connection.fetch_all(plan, values)
        return page_of(rows, limit, listing, [column.key for column in order])

    async def stream(self, **criteria: Any) -> AsyncIterator[E]:
        """Yield all rows that are shown and meet the criteria, in the order of their key, from one snapshot."""
        plan = _narrowed(stream_plan(self._model, shape_of(self._model, criteria)), self._kind)
        async for row in self.connection.stream(plan, {**values_given(criteria), **self._moment()}):
            yield row


@cache
def _find_plan(repository: Any, owned: bool) -> Plan[Any]:
    plan: Plan[Any] = by_key(repository.model)
    statement: Any = plan.statement
    if owned or repository.fleeting:
        statement = statement.where(repository.shown, *([repository.owned] if owned else []))
        return Plan(statement, name=plan.name, rows=plan.rows, point=True)
    joined: Any = plan.together.statement if plan.together is not None else statement
    return Plan(
        statement.where(repository.shown),
        name=plan.name,
        rows=plan.rows,
        point=True,
        together=Together(joined.where(repository.shown)),
    )


@cache
def _narrowed(plan: Plan[Any], repository: Any) -> Plan[Any]:
    """Return a plan of the generic repository, of the rows that are shown."""
    statement: Any = plan.statement
    return Plan(statement.where(repository.shown), name=plan.name, rows=plan.rows, columns=plan.columns)
