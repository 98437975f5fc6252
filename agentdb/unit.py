"""A unit of work: the seven aggregates over one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, NoReturn, TypeVar

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from agentdb.aggregates import Aggregates
from agentdb.engine.connection import Shared, Transaction, Work
from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.watching import Watch
from agentdb.errors import AgentDBError, BadInput, StaleVersion
from agentdb.hub.filing.folder import Folder
from agentdb.hub.masking import KnownSecrets
from agentdb.supervisor.key_use import KeyUses

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")


class UnitSession(AsyncSession):
    """A SQLAlchemy session inside a unit's transaction; the unit commits, the session does not."""

    async def commit(self) -> NoReturn:
        """Refuse: the unit commits when its block is left."""
        raise BadInput("a unit commits when its block is left; use session.flush() to send changes before that")

    async def rollback(self) -> NoReturn:
        """Refuse: the unit rolls back when an error leaves its block."""
        raise BadInput("a unit rolls back when an error leaves its block; use session.begin_nested() for a part of it")

    def begin(self) -> NoReturn:
        """Refuse: the unit has begun already."""
        raise BadInput("a unit has begun already; use session.begin_nested() for a part of it")


class UnitConnection:
    """A transaction as the repositories of a unit see it: what a session holds back is sent first."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.session: UnitSession | None = None
        self.chains = transaction.chains
        self.keyring = transaction.keyring

    def now(self) -> datetime:
        """Return the database's present moment."""
        return self.transaction.now()

    async def _after_flush(self, call: Callable[..., Awaitable[R]], *arguments: Any) -> R:
        await self.flush()
        return await call(*arguments)

    async def flush(self) -> None:
        """Send what the session holds back.

        Raises: errors of ours, as a repository does.
        """
        if self.session is None:
            return
        try:
            await self.session.flush()
        except DBAPIError as error:
            raise self.transaction.told(error) from error
        except StaleDataError as error:
            raise StaleVersion("a row of the session was changed or removed by somebody else; read it again") from error
        except SQLAlchemyError as error:
            raise BadInput(f"the session cannot be sent: {type(error).__name__}") from error

    def fetch_one(self, plan: Plan[T], parameters: Parameters) -> Awaitable[T | None]:
        """Return the first row of a plan, or None."""
        if self.session is None:
            return self.transaction.fetch_one(plan, parameters)
        return self._after_flush(self.transaction.fetch_one, plan, parameters)

    def fetch_all(self, plan: Plan[T], parameters: Parameters) -> Awaitable[list[T]]:
        """Return all rows of a plan."""
        if self.session is None:
            return self.transaction.fetch_all(plan, parameters)
        return self._after_flush(self.transaction.fetch_all, plan, parameters)

    def execute(self, plan: Plan[Any], parameters: Parameters) -> Awaitable[int]:
        """Run a plan, and return how many rows it changed."""
        if self.session is None:
            return self.transaction.execute(plan, parameters)
        return self._after_flush(self.transaction.execute, plan, parameters)

    def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> Awaitable[int]:
        """Insert rows in bulk, all or none, and return how many."""
        if self.session is None:
            return self.transaction.insert_many(table, rows)
        return self._after_flush(self.transaction.insert_many, table, rows)

    def run(self, work: Work[R]) -> Awaitable[R]:
        """Run a script in this transaction."""
        if self.session is None:
            return self.transaction.run(work)
        return self._after_flush(self.transaction.run, work)

    async def outside(self, work: Work[R]) -> R:  # noqa: ARG002
        """Refuse: this is a transaction."""
        raise BadInput("no transaction may be around this call; make it on the database, after the unit")

    def share(self, shared: Shared[C, R], call: C) -> Awaitable[R]:
        """Answer a call in this transaction."""
        if self.session is None:
            return self.transaction.share(shared, call)
        return self._after_flush(self.transaction.share, shared, call)

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield the rows of a plan as they come."""
        await self.flush()
        async for row in self.transaction.stream(plan, parameters, batch=batch):
            yield row

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Refuse: what is new is not seen from within a transaction."""
        return self.transaction.watch(topic)


class Unit(Aggregates):
    """Several calls, one transaction: it commits when its block is left, and rolls back when any error leaves it."""

    in_unit: ClassVar[bool] = True

    def __init__(
        self,
        transaction: Transaction,
        *,
        writes: bool,
        most: int,
        secrets: KnownSecrets,
        key_uses: KeyUses,
        folder: Folder,
        tenant: int | None = None,
    ) -> None:
        self._connection = UnitConnection(transaction)
        self.writes = writes
        self.over = False
        super().__init__(self._connection, most=most, secrets=secrets, key_uses=key_uses, folder=folder, tenant=tenant)

    @cached_property
    def session(self) -> UnitSession:
        """A plain SQLAlchemy session in this same transaction: the way out, for what no repository offers."""
        connection = self._connection.transaction.lend()
        session = UnitSession(bind=connection, expire_on_commit=False)
        self._borrowed = connection
        self._connection.session = session
        return session

    def told(self, error: DBAPIError) -> AgentDBError:
        """Return our error for what the session raised: with no driver's words in it, and no value."""
        return self._connection.transaction.told(error)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo only what happens inside, when an error leaves it: for what may fail while the unit goes on."""
        return self._connection.transaction.savepoint()

    async def finish(self) -> None:
        """Send what the session still holds, before the commit."""
        await self._connection.flush()

    async def let_go(self) -> None:
        """Part from the session, whatever happened."""
        session = self._connection.session
        if session is not None:
            session.sync_session.expunge_all()
            await AsyncSession.close(session)
            await self._borrowed.close()
