"""Observing: every statement and every wait is told to whoever listens; nobody else pays for it.

A hook is called in the event loop, in the context of the call that the statement was for. What runs on a thread is
noted there, and told in the loop before its caller goes on, or after its caller is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from agentdb.config import Settings
from agentdb.engine.events import CALLERS, Event, Hook, Running, Statement, Stream, Waiting
from agentdb.engine.plan import Compiled

A = TypeVar("A")
R = TypeVar("R")
Arguments: TypeAlias = Sequence[Any] | Mapping[str, Any]

_logger: Final = logging.getLogger("agentdb")


class _Tape:
    """What a thread notes."""

    __slots__ = ("batch", "callers", "events", "observing")

    def __init__(self, observing: Observing, callers: tuple[Context, ...], batch: int) -> None:
        self.observing = observing
        self.callers = callers
        self.batch = batch
        self.events: list[Event] = []


_tape: ContextVar[_Tape | None] = ContextVar("agentdb_tape", default=None)
_batch: ContextVar[int] = ContextVar("agentdb_batch", default=1)


@contextmanager
def batch_of(calls: int) -> Iterator[None]:
    """Say, on a thread, that the work of so many calls is done in one transaction."""
    token = _batch.set(calls)
    try:
        yield
    finally:
        _batch.reset(token)


def begun(compiled: Compiled[Any], arguments: Sequence[Any] | None) -> Running | None:
    """Note, on a thread, that a statement is sent; None when nobody listens.

    Args: arguments: None: too many to be told.
    """
    tape = _tape.get()
    if tape is None:
        return None
    parameters = tape.observing.named(compiled, compiled.text, arguments)
    return Running(tape.events.append, compiled.plan.name, compiled.text, parameters, 1, tape.batch, tape.callers)


class Observing:
    """Who listens to one database.

    Args: settings: whether slow statements and long transactions are logged; None: they are not.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._hooks: tuple[tuple[Hook, bool], ...] = ()
        self._asked = False  # for parameters
        self._failed: set[int] = set()
        self.listens = False
        self.translate: Callable[[Exception], Exception] = lambda error: error  # the engine's own comes with it
        self.long_transaction_seconds = 0.0 if settings is None else settings.long_transaction_seconds
        if settings is not None and settings.slow_query_seconds:
            self.add(_SlowQueries(settings.slow_query_seconds))

    def add(self, hook: Hook, *, parameters: bool = False) -> Callable[[], None]:
        """Let a hook listen, and return what lets it go."""
        entry = (hook, parameters)
        self._set((*self._hooks, entry))

        def remove() -> None:
            self._set(tuple(other for other in self._hooks if other is not entry))
            self._failed.discard(id(entry))

        return remove

    def _set(self, hooks: tuple[tuple[Hook, bool], ...]) -> None:
        self._hooks = hooks
        self._asked = any(parameters for _, parameters in hooks)
        self.listens = bool(hooks)

    def tell(self, event: Event) -> None:
        """Tell an event to everybody, in the context of the call it was for."""
        if isinstance(event, Statement) and event.callers:
            event.callers[0].copy().run(self._tell, event)
        else:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        for entry in self._hooks:
            hook, parameters = entry
            told = event
            if isinstance(event, Statement) and event.parameters is not None and not parameters:
                told = replace(event, parameters=None)
            try:
                hook(told)
            except Exception:
                if id(entry) not in self._failed:  # once: it may fail at each statement
                    self._failed.add(id(entry))
                    _logger.exception("a hook failed; its next failures are not told")

    def named(self, what: Compiled[Any] | str, sql: str, arguments: Arguments | None) -> Mapping[str, Any] | None:
        """Return a statement's parameters by name, when a hook asks for them."""
        if not self._asked or arguments is None:
            return None
        if isinstance(arguments, Mapping):
            return dict(arguments)
        if isinstance(what, str):
            return {str(place): value for place, value in enumerate(arguments, 1)}
        return what.named(sql, arguments)

    def kind(self, error: BaseException) -> str:
        """Return the name of the error of ours that a driver's is."""
        return type(self.translate(error) if isinstance(error, Exception) else error).__name__

    # In the event loop

    def begin(
        self, what: Compiled[Any] | str, sql: str, arguments: Arguments | None = None, *, calls: int = 1
    ) -> Running:
        """Note that a statement is sent."""
        name = what if isinstance(what, str) else what.plan.name
        return Running(self.tell, name, sql, self.named(what, sql, arguments), calls, 1, CALLERS.get())

    def fetched(
        self,
        answer: Awaitable[R],
        what: Compiled[Any] | str,
        sql: str,
        arguments: Sequence[Any] | None = None,
        *,
        calls: int = 1,
        rows: Callable[[R], int] | None = None,
    ) -> Awaitable[R]:
        """Return the answer of a statement, which is told when somebody listens.

        Args: rows: how many an answer means; None: its length.
        """
        if not self.listens:
            return answer
        return self._timed(answer, self.begin(what, sql, arguments, calls=calls), rows or _length)

    async def _timed(self, answer: Awaitable[R], running: Running, rows: Callable[[R], int]) -> R:
        try:
            result = await answer
        except BaseException as error:
            running.ended(None, error=self.kind(error))
            raise
        running.ended(rows(result))
        return result

    def streaming(self, compiled: Compiled[Any], arguments: Sequence[Any]) -> Stream:
        """Note that rows are asked for, to be read little by little within a block."""
        running = self.begin(compiled, compiled.text, arguments) if self.listens else None
        return Stream(running, self.kind)

    def waiting(self, queue: str) -> Waiting | None:
        """Note that a call waits; None when nobody listens."""
        return Waiting(self.tell, queue) if self.listens else None

    # On a thread

    def around(self, task: Callable[[A], R]) -> Callable[[A], R]:
        """Return a function for a thread that does the same, and notes its statements when somebody listens."""
        if not self.listens:
            return task
        loop, context = asyncio.get_running_loop(), copy_context()

        def noted(raw: A) -> R:
            tape = _Tape(self, context.get(CALLERS, ()), _batch.get())
            token = _tape.set(tape)
            try:
                return task(raw)
            finally:
                _tape.reset(token)
                with suppress(RuntimeError):  # the loop has ended, and its hooks with it
                    loop.call_soon_threadsafe(self._tell_all, tape.events, context=context)

        return noted

    def _tell_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self.tell(event)


def _length(answer: Any) -> int:
    return len(answer) if isinstance(answer, Sized) else 0


class _SlowQueries:
    """Logs what took too long."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds

    def __call__(self, event: Event) -> None:
        """Log a statement that took too long: its name and its text, never what it is about."""
        if not isinstance(event, Statement) or event.seconds < self._limit:
            return
        end = f"{event.rows} rows" if event.rows is not None else event.error or "unknown rows"
        _logger.warning(
            "slow: %s took %.3f s (%s, %d calls)\n%s", event.name, event.seconds, end, event.calls, event.sql
        )
