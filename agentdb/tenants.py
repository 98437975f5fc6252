"""A database as one user sees it: what that user owns, and what is everybody's.

Another user's row is as good as not there: it is not found, not counted, not changed, and not referred to. Whose a row
is says the path its model declares (`agentdb.owners`); no repository has to remember it (`agentdb.engine.scoping`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeVar

from agentdb.aggregates import Aggregates
from agentdb.base import Entity
from agentdb.engine.asked import whole_number
from agentdb.engine.connection import Connection, Transaction
from agentdb.engine.scoping.conditions import Paths
from agentdb.engine.scoping.guarding import NO_SESSION, ScopedConnection, ScopedTransaction
from agentdb.errors import BadInput
from agentdb.unit import Unit

R = TypeVar("R")


@cache
def paths() -> Paths:
    """Return who owns the rows of each table, by its name."""
    return MappingProxyType(
        {
            mapper.local_table.name: mapper.class_.__owner__  # type: ignore[attr-defined]
            for mapper in Entity.registry.mappers
        }
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """One user's scope, put before a transaction."""

    user_id: int

    def of(self, transaction: Transaction) -> Transaction:
        """Return a transaction as the user sees it."""
        return ScopedTransaction(transaction, paths(), self.user_id)


class Doors(Protocol):
    """The doors of a database, through which a scope may be passed."""

    def _unit(self, *, writes: bool, scope: Scope | None = None) -> AbstractAsyncContextManager[Unit]: ...

    async def _again(self, work: Callable[[Unit], Awaitable[R]], scope: Scope | None) -> R: ...


class Tenant(Aggregates):
    """A database within one user's scope: the same aggregates, the same two doors.

    Args:
        user_id: the user; one that there is not sees what is everybody's.
        doors: the database's.
        connection: the database itself, each call its own transaction.
        shared: what the aggregates of the database share.

    Raises: BadInput for what is no id.
    """

    def __init__(self, user_id: int, doors: Doors, connection: Connection, **shared: Any) -> None:
        self.user_id = whole_number(user_id, "a user's id")
        self._doors = doors
        self._scope = Scope(self.user_id)
        super().__init__(ScopedConnection(connection, paths(), self.user_id), tenant=self.user_id, **shared)

    def write(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit that writes within the scope; see `Database.write`. It has no ``session``."""
        return self._doors._unit(writes=True, scope=self._scope)  # noqa: SLF001 (a door of the same house)

    def read(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit that reads one snapshot within the scope; see `Database.read`. It has no ``session``."""
        return self._doors._unit(writes=False, scope=self._scope)  # noqa: SLF001 (likewise)

    async def run(self, work: Callable[[Unit], Awaitable[R]]) -> R:
        """Run ``work`` in a write unit within the scope, as `Database.run` does."""
        return await self._doors._again(work, self._scope)  # noqa: SLF001 (likewise)

    def now(self) -> datetime:
        """Return the database's present moment."""
        return self._over.now()

    @property
    def sessions(self) -> NoReturn:
        """Refuse: a plain session knows no scope.

        Raises: BadInput.
        """
        raise BadInput(NO_SESSION)
