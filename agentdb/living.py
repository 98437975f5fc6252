"""Repositories of rows that are not always shown: what is over, or is of what is deleted, is as good as not there."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, TypeVar

from sqlalchemy.sql import ColumnElement

from agentdb.base import Entity
from agentdb.criteria import update_plan
from agentdb.engine.plan import Plan, Together
from agentdb.engine.statements import by_key
from agentdb.errors import NotFound, ReadOnly
from agentdb.repository import Repository

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

    def _seen(self, plan: Plan[Any]) -> Plan[Any]:
        return _narrowed(plan, self._kind)


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
