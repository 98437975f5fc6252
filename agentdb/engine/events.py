"""What an observer is told: statements and waits, and how each is measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was sent, and has ended.

    Args:
        name: of its plan; ``session.`` and its first word, for what a SQLAlchemy session sends.
        sql: its text, which holds no value.
        started_at: when it was sent.
        seconds: how long the database took; for rows that are streamed, without what their reader did in between.
        rows: how many it returned or changed; None when it failed, or its driver does not tell.
        error: the kind of error it failed with, such as ``Conflict``; None when it did not.
        calls: how many calls this one statement answers, or how many rows of parameters it was given.
        batch: how many calls share its transaction, itself included.
        parameters: by name, as the driver was given them; None unless the hook asked for them.
        callers: the contexts of the calls that were answered together, when they were; the first is where the hook is.
    """

    name: str
    sql: str
    started_at: datetime
    seconds: float
    rows: int | None
    error: str | None
    calls: int
    batch: int
    parameters: Mapping[str, Any] | None
    callers: tuple[Context, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """A call that had to wait for its turn, before anything of it was sent.

    Args:
        queue: where: the pools ``connections`` and ``replica``, or ``writer`` and ``reader``; the queues of calls that
            are then answered together, ``writer queue``, ``joined calls`` and ``shared calls``.
        started_at: since when.
        seconds: for how long.
        error: why it had waited in vain, such as ``CancelledError`` or ``Unavailable``; None when it had not.
    """

    queue: str
    started_at: datetime
    seconds: float
    error: str | None


Event: TypeAlias = Statement | Wait
Hook: TypeAlias = Callable[[Event], None]


# The calls that the present task answers together, while somebody listens.
CALLERS: Final[ContextVar[tuple[Context, ...]]] = ContextVar("agentdb_callers", default=())


class Running:
    """A statement that was sent and has not ended."""

    __slots__ = ("_batch", "_began", "_callers", "_calls", "_name", "_parameters", "_sql", "_started_at", "_tell")

    def __init__(
        self,
        tell: Callable[[Event], None],
        name: str,
        sql: str,
        parameters: Mapping[str, Any] | None,
        calls: int,
        batch: int,
        callers: tuple[Context, ...],
    ) -> None:
        self._tell = tell
        self._name = name
        self._sql = sql
        self._parameters = parameters
        self._calls = calls
        self._batch = max(calls, batch, len(callers))
        self._callers = callers
        self._started_at = datetime.now(UTC)
        self._began = perf_counter()

    def ended(self, rows: int | None, *, error: str | None = None, seconds: float | None = None) -> None:
        """Tell how it ended."""
        statement = Statement(
            name=self._name,
            sql=self._sql,
            started_at=self._started_at,
            seconds=perf_counter() - self._began if seconds is None else seconds,
            rows=rows,
            error=error,
            calls=self._calls,
            batch=self._batch,
            parameters=self._parameters,
            callers=self._callers,
        )
        self._tell(statement)

    def failed(self, error: BaseException) -> None:
        """Tell that it failed with an error of ours, or was cancelled."""
        self.ended(None, error=type(error).__name__)


class Waiting:
    """A call that waits for its turn."""

    __slots__ = ("_began", "_queue", "_started_at", "_tell", "context")

    def __init__(self, tell: Callable[[Event], None], queue: str) -> None:
        self._tell = tell
        self._queue = queue
        self.context = copy_context()
        self._started_at = datetime.now(UTC)
        self._began = perf_counter()

    def ended(self, error: str | None = None) -> None:
        """Tell how long it has waited."""
        wait = Wait(self._queue, self._started_at, perf_counter() - self._began, error)
        self.context.copy().run(self._tell, wait)


def answering(waiting: Sequence[Waiting | None]) -> None:
    """Say, in a task that answers calls and does nothing else, which calls it answers now."""
    CALLERS.set(tuple(call.context for call in waiting if call is not None))


class Stream:
    """Rows that are read little by little: one statement, and the time the database took for it.

    Args: running: None: nobody listens. kind: names an error.
    """

    __slots__ = ("_kind", "_rows", "_running", "_seconds")

    def __init__(self, running: Running | None, kind: Callable[[BaseException], str]) -> None:
        self._running = running
        self._kind = kind
        self._seconds = 0.0
        self._rows = 0

    async def asked(self, answer: Awaitable[R]) -> R:
        """Return an answer, and count how long it took."""
        began = perf_counter()
        try:
            return await answer
        finally:
            self._seconds += perf_counter() - began

    async def counted(self, answer: Awaitable[list[Any]]) -> list[Any]:
        """Return rows, and count them too."""
        rows = await self.asked(answer)
        self._rows += len(rows)
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is None:
            return
        if error is None or isinstance(error, GeneratorExit):  # whoever reads may have had enough
            self._running.ended(self._rows, seconds=self._seconds)
        else:
            self._running.ended(None, error=self._kind(error), seconds=self._seconds)
