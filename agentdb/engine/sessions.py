"""SQLAlchemy's way in: an engine over a pool of ours, whose statements are observed too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from agentdb.engine.dialects import driver_error, engine_over, once
from agentdb.engine.events import Running
from agentdb.engine.lingering import Lingering
from agentdb.engine.observing import Observing
from agentdb.engine.pool import Pool

_RUNNING: Final = "_agentdb_running"


class Sessions:
    """Gives the SQLAlchemy engine over a pool, made when it is first asked for.

    Args:
        scheme: of its URL.
        pool: whose connections it borrows, one for each transaction.
        adapt: makes of SQLAlchemy's driver module and one of ours a connection that can be given back.
        observing: who listens.
    """

    def __init__(self, scheme: str, pool: Pool[Any], adapt: Callable[[Any, Any], Any], observing: Observing) -> None:
        self._scheme = scheme
        self._pool = pool
        self._adapt = adapt
        self._observing = observing
        self._engine: AsyncEngine | None = None

    def __call__(self) -> AsyncEngine:
        """Return the engine."""
        if self._engine is None:
            self._engine = engine_over(self._scheme, self._adapted)
            event.listen(self._engine.sync_engine, "before_cursor_execute", self._begin)
            event.listen(self._engine.sync_engine, "after_cursor_execute", self._end)
            event.listen(self._engine.sync_engine, "handle_error", self._fail)
        return self._engine

    async def _adapted(self) -> Any:
        connection = self._pool.take() or await self._pool.acquire()
        adapted = self._adapt(self().dialect.dbapi, connection)
        lingering = Lingering("a session's connection", self._observing.long_transaction_seconds).__enter__()
        adapted.give_back = once(partial(self._give_back, connection, lingering))
        return adapted

    def _give_back(self, connection: Any, lingering: Lingering) -> None:
        lingering.end()
        self._pool.release(connection, clean=False)

    # What a session sends, in a transaction of its own or in a unit's

    def _begin(self, _connection: Any, _cursor: Any, text: str, values: Any, context: Any, many: bool) -> None:
        if not self._observing.listens or context is None:
            return
        name = f"session.{text.split(None, 1)[0].lower()}" if text.strip() else "session"
        running = self._observing.begin(name, text, None if many else values, calls=len(values) if many else 1)
        setattr(context, _RUNNING, running)

    def _end(self, _connection: Any, cursor: Any, _text: str, _values: Any, context: Any, _many: bool) -> None:
        running: Running | None = context.__dict__.pop(_RUNNING, None) if context is not None else None
        if running is not None:
            running.ended(cursor.rowcount if cursor.rowcount >= 0 else None)

    def _fail(self, failure: ExceptionContext) -> None:
        context: Any = failure.execution_context
        running: Running | None = context.__dict__.pop(_RUNNING, None) if context is not None else None
        if running is not None:
            error = failure.sqlalchemy_exception
            real = driver_error(error) if isinstance(error, DBAPIError) else failure.original_exception
            running.ended(None, error=self._observing.kind(real))
