"""Transactions that stay open for too long: a warning that tells where in the caller's code they are held."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, Self

_logger: Final = logging.getLogger("agentdb")


class Lingering:
    """Warns when the present task holds something, a block long or until the end is told, for longer than a limit.

    Args:
        what: it holds.
        limit_seconds: 0: it may for ever.
    """

    __slots__ = ("_limit", "_timer", "_what")

    def __init__(self, what: str, limit_seconds: float) -> None:
        self._what = what
        self._limit = limit_seconds
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._limit:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limit, _warn, self._what, self._limit, asyncio.current_task())
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Warn no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _warn(what: str, limit_seconds: float, task: asyncio.Task[Any] | None) -> None:
    where = "".join(traceback.format_list(traceback.StackSummary.extract(_frames(task))))
    _logger.warning(
        "%s is held for more than %g s, and others wait for it; await no model and no web page in it. It is at\n%s",
        what,
        limit_seconds,
        where.rstrip() or "  its end",
    )


def _frames(task: asyncio.Task[Any] | None) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of a task that awaits something, the outermost first, with the lines they are at.

    A task's own `get_stack` knows only the outermost.
    """
    awaited: Any = None if task is None else task.get_coro()
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame, frame.f_lineno
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            return
