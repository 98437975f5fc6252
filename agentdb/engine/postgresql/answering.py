"""Single statements: one call alone, or many of one plan by one statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg

from agentdb.engine.joining import PATIENCE_SECONDS, Joiner, Undone
from agentdb.engine.observing import Observing
from agentdb.engine.plan import Compiled
from agentdb.engine.postgresql.errors import told_by_server
from agentdb.engine.postgresql.transaction import MOST_JOINED

T = TypeVar("T")

LANES: Final = 2  # measured: one leaves the server idle while rows are made, three only split the batches


class Answering:
    """Answers calls of plans by their first row.

    Args:
        fetch: runs a statement of a plan, for so many calls, in the server's own transaction, and returns its rows.
        tell: is told which followed tables have changed.
        joining: False: each call is made alone.
        most_alone: how many members of failed batches run alone at once.
        observing: who is told how long calls wait.
    """

    def __init__(
        self,
        fetch: Callable[[Compiled[Any], str, Sequence[Any], int], Awaitable[list[Any]]],
        tell: Callable[[Collection[str]], None],
        *,
        joining: bool,
        most_alone: int,
        observing: Observing,
    ) -> None:
        self._fetch = fetch
        self._tell = tell
        self._joining = joining
        self._most_alone = most_alone
        self._observing = observing
        self._joiners: dict[int, Joiner[list[Any], Any]] = {}

    async def __call__(self, compiled: Compiled[T], arguments: list[Any]) -> T | None:
        """Return the first row of a plan, or None; the driver's errors pass through."""
        if compiled.together is not None and self._joining:
            joiner = self._joiners.get(id(compiled)) or self._joiner(compiled)
            answer: T | None = await joiner(arguments)
            return answer
        return await self._one(compiled, arguments)

    def _joiner(self, compiled: Compiled[Any]) -> Joiner[list[Any], Any]:
        # A second lane would find locked what the first is writing to, and be passed by.
        lanes = 1 if compiled.passes_by else LANES
        joiner: Joiner[list[Any], Any] = Joiner(
            partial(self._one, compiled),
            partial(self._together, compiled),
            lanes=lanes,
            most=MOST_JOINED,
            most_alone=self._most_alone,
            patience=PATIENCE_SECONDS,
            observing=self._observing,
            queue="joined calls",
        )
        self._joiners[id(compiled)] = joiner
        return joiner

    async def _one(self, compiled: Compiled[T], arguments: Sequence[Any]) -> T | None:
        rows = await self._fetch(compiled, compiled.text, arguments, 1)
        if compiled.tells:
            self._tell(compiled.tells)
        return compiled.answer(arguments, rows[0]) if rows else None

    async def _together(self, compiled: Compiled[Any], calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Answer many calls of one plan by one statement.

        Raises: Undone when the server says that nothing was stored. A lost connection says nothing: the statement may
            have been committed, and running it again could store it twice.
        """
        try:
            rows = await self._fetch(compiled, compiled.together or "", compiled.gather(calls), len(calls))
        except asyncpg.PostgresError as error:
            if not told_by_server(error):
                raise
            raise Undone from error
        if compiled.tells:
            self._tell(compiled.tells)
        return compiled.deal(calls, rows)

    async def close(self) -> None:
        """Wait until everything in flight is answered."""
        for joiner in self._joiners.values():
            await joiner.close()
