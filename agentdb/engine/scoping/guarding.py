"""One user's scope before a connection: what runs on it is rewritten first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final, NoReturn, TypeVar

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError

from agentdb.engine.before import Before
from agentdb.engine.connection import Connection, Script, Shared, Step, Transaction, Want, Work
from agentdb.engine.plan import Parameters, Plan
from agentdb.engine.scoping.bulk import rows_added
from agentdb.engine.scoping.compiling import TENANT
from agentdb.engine.scoping.conditions import Paths
from agentdb.engine.scoping.plans import scoped
from agentdb.engine.sharing import alone
from agentdb.engine.watching import Watch
from agentdb.errors import AgentDBError, BadInput, BudgetExceeded

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")

NO_SESSION: Final = (
    "a session runs any SQL, and none of it within a user's scope; use the repositories, or the database itself"
)
NO_ROOM: Final = "a spend limit that is not this user's alone leaves no room for this amount; ask whoever set it"


class ScopedConnection(Before):
    """A connection as one user sees it.

    Args:
        behind: the database itself, or an open transaction.
        paths: who owns the rows of which table, by its name.
        user_id: the user.
    """

    def __init__(self, behind: Connection, paths: Paths, user_id: int) -> None:
        super().__init__(behind)
        self._paths = paths
        self._user_id = user_id

    def _scoped(self, plan: Plan[T], values: Parameters) -> tuple[Plan[T], Parameters]:
        made = scoped(plan, self._paths)
        if made is not plan:
            return made, {**values, TENANT: self._user_id}
        return plan, values if plan.beyond is None else plan.beyond.within(plan.name, values, self._user_id)

    def _script(self, script: Script[R]) -> Script[R]:
        """Rewrite each step when it is its turn."""
        answer: Any = None
        while True:
            try:
                step = script.send(answer)
            except StopIteration as stop:
                result: R = stop.value
                return result
            answer = yield self._step(step)

    def _step(self, step: Step) -> Step:
        if step.want is not Want.EACH:
            plan, values = self._scoped(step.plan, step.parameters)
            return replace(step, plan=plan, parameters=values)
        if not step.calls:
            return step
        calls = [self._scoped(step.plan, call) for call in step.calls]
        return replace(step, plan=calls[0][0], calls=[values for _, values in calls])

    async def fetch_one(self, plan: Plan[T], parameters: Parameters) -> T | None:
        """Return the first row of a plan, or None."""
        return await self._behind.fetch_one(*self._scoped(plan, parameters))

    async def fetch_all(self, plan: Plan[T], parameters: Parameters) -> list[T]:
        """Return all rows of a plan."""
        return await self._behind.fetch_all(*self._scoped(plan, parameters))

    async def execute(self, plan: Plan[Any], parameters: Parameters) -> int:
        """Run a plan, and return how many rows it changed."""
        return await self._behind.execute(*self._scoped(plan, parameters))

    async def insert_many(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert rows in bulk, all or none, and return how many."""
        given, now = list(rows), self.now()
        return await self.run(lambda: rows_added(table, given, now, together=self.chains))

    def run(self, work: Work[R]) -> Awaitable[R]:
        """Run a script in one transaction."""
        return self._behind.run(lambda: self._script(work()))

    async def outside(self, work: Work[R]) -> R:  # noqa: ARG002
        """Refuse: what no transaction may be around concerns everybody."""
        raise BadInput("this call concerns more than one user's rows; make it on the database itself")

    async def share(self, shared: Shared[C, R], call: C) -> R:
        """Answer a call, in a transaction of its own."""
        try:
            return await alone(self, shared, call)
        except BudgetExceeded as error:
            if error.user_id == self._user_id:
                raise
            raise BudgetExceeded(NO_ROOM) from None  # what others have spent is not told

    async def stream(self, plan: Plan[T], parameters: Parameters, *, batch: int = 500) -> AsyncIterator[T]:
        """Yield the rows of a plan as they come."""
        async for row in self._behind.stream(*self._scoped(plan, parameters), batch=batch):
            yield row

    def watch(self, topic: str) -> AbstractAsyncContextManager[Watch]:
        """Watch a followed table: whoever is told reads for himself, within the scope."""
        return self._behind.watch(topic)


class ScopedTransaction(ScopedConnection):
    """An open transaction as one user sees it."""

    def __init__(self, behind: Transaction, paths: Paths, user_id: int) -> None:
        super().__init__(behind, paths, user_id)
        self._transaction = behind

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo only what happens inside, when an error leaves it."""
        return self._transaction.savepoint()

    def told(self, error: DBAPIError) -> AgentDBError:
        """Return our error for what a borrowed connection raised."""
        return self._transaction.told(error)

    def lend(self) -> NoReturn:
        """Refuse."""
        raise BadInput(NO_SESSION)
