"""A guard before an engine: what a connection's rights do not allow is refused here, before anything is sent.

It stands there only where somebody's rights are limited; nobody else pays for it. A statement is judged once, by the
tables it touches (`touching`). SQL that is written as text passes: its tables are the server's to guard.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Table, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agentdb.engine.before import Before
from agentdb.engine.choice import AnyEngine
from agentdb.engine.connection import Connection, Script, Shared, Transaction, Want, Work
from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.sharing import alone
from agentdb.engine.touching import Touched, noting, touched
from agentdb.engine.watching import Watch
from agentdb.errors import AgentDBError, BadInput

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

_REFUSED: Final = "agentdb: told when a statement is refused"


class Rights(Protocol):
    """What may be done with which table."""

    def check(self, what: str, touched: Touched) -> None:
        """Refuse what is not allowed.

        Raises: an error of ours.
        """
        ...


class _Guard(Before):
    """What an engine and a transaction have in common."""

    def __init__(self, behind: Connection, rights: Rights, dialect: Any) -> None:
        super().__init__(behind)
        self._rights = rights
        self._dialect = dialect

    def _check(self, plan: Plan[Any]) -> None:
        self._rights.check(plan.name, touched(plan, self._dialect))

    def _script(self, script: Script[R]) -> Script[R]:
        """Check each statement of a script when it is its turn; the transaction goes with the one that is refused."""
        answer: Any = None
        while True:
            try:
                step = script.send(answer)
            except StopIteration as stop:
                result: R = stop.value
                return result
            if step.want is not Want.EACH or step.calls:
                self._check(step.plan)
            answer = yield step

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        self._check(plan)
        return await self._behind.fetch_one(plan, parameters)

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        self._check(plan)
        return await self._behind.fetch_all(plan, parameters)

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        self._check(plan)
        return await self._behind.execute(plan, parameters)

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows in bulk, all or none, and return how many."""
        self._rights.check(f"{table.name}.add_many", Touched(adds={table.name}))
        return await self._behind.insert_many(table, rows)

    async def run(self, work: Work[R]) -> R:
        """Run a script in one transaction."""
        return await self._behind.run(lambda: self._script(work()))

    async def outside(self, work: Work[R]) -> R:
        """Run a script that no transaction may be around."""
        return await self._behind.outside(lambda: self._script(work()))

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield the rows of a plan as they come."""
        self._check(plan)
        async for row in self._behind.stream(plan, parameters, batch=batch):
            yield row

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Watch a followed table: what is committed from then on is noticed."""
        self._rights.check(f"following {topic}", Touched(reads={topic}))
        return self._behind.watch(topic)


class GuardedTransaction(_Guard):
    """A transaction with a guard before it."""

    def __init__(self, behind: Transaction, rights: Rights, dialect: Any) -> None:
        super().__init__(behind, rights, dialect)
        self._transaction = behind
        self.failed = False

    def _fail(self) -> None:
        self.failed = True

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call in this transaction."""
        return await alone(self, shared, call)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what happens inside, when an error leaves it."""
        before = self.failed
        async with self._transaction.savepoint():
            try:
                yield
            except Exception:
                self.failed = before
                raise

    def told(self, error: DBAPIError) -> AgentDBError:
        """Return our error for what a borrowed connection raised."""
        return self._transaction.told(error)

    def lend(self) -> AsyncConnection:
        """Give SQLAlchemy this transaction's own driver connection, with the guard before it."""
        connection = self._transaction.lend()
        # A session may have sent half of a flush when the other half is refused.
        if connection.sync_connection is not None:
            connection.sync_connection.info[_REFUSED] = self._fail
        return connection


class GuardedEngine(_Guard):
    """An engine with a guard before it."""

    def __init__(self, behind: AnyEngine, rights: Rights) -> None:
        super().__init__(behind, rights, behind.dialect)
        self._engine = behind
        self._shared: dict[Shared[Any, Any], Shared[Any, Any]] = {}
        sessions = behind.sessions().sync_engine
        sessions.dialect.statement_compiler = noting(sessions.dialect)
        event.listen(sessions, "before_cursor_execute", self._check_statement)

    def _check_statement(self, connection: Any, _cursor: Any, _text: str, _values: Any, context: Any, _: bool) -> None:
        """Check what a session sends."""
        found: Touched | None = getattr(context.compiled, "touched", None) if context is not None else None
        if found is None:
            return
        try:
            self._rights.check("the session", found)
        except AgentDBError:
            tell: Callable[[], None] | None = connection.info.get(_REFUSED)
            if tell is not None:
                tell()
            raise

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call, in one transaction with others of its kind."""
        guarded = self._shared.get(shared)
        if guarded is None:
            guarded = self._shared[shared] = Shared(
                shared.name, lambda calls, now: self._script(shared.script(calls, now)), shared.locks
            )
        answer: R = await self._behind.share(guarded, call)
        return answer

    @asynccontextmanager
    async def transaction(self, *, writes: bool) -> AsyncIterator[GuardedTransaction]:
        """Begin; commit when the block is left, roll back when an error leaves it."""
        async with self._engine.transaction(writes=writes) as transaction:
            guarded = GuardedTransaction(transaction, self._rights, self._dialect)
            yield guarded
            if guarded.failed:
                raise BadInput(
                    "the unit had failed and is rolled back; let its error leave the block, or use a savepoint"
                )

    def sessions(self) -> AsyncEngine:
        """Return a SQLAlchemy engine over the same connections, with the guard before it."""
        return self._engine.sessions()

    def state(self) -> dict[str, int]:
        """Return how the connections are doing."""
        return self._engine.state()
