"""What a worker holds and is told of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agentdb.engine.asked import lasting
from agentdb.errors import BadInput
from agentdb.execution.models import Execution, ExecutionStatus

Dice = Callable[[], float]  # from 0 up to 1

LONGEST_EXPONENT: Final = 60


class Hold:
    """A lease that a worker in this process keeps.

    Args: ended: called once, when the execution is finished or given back.
    """

    __slots__ = ("_ended", "stopping")

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self.stopping = asyncio.Event()

    def end(self) -> None:
        """Keep it no longer."""
        self._ended()


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that one worker holds until its lease ends.

    ``id`` and ``attempt`` are the claim: attempts are never counted back, so that whoever held an earlier one is told
    apart. ``execution`` is the row as it was claimed.
    """

    id: int
    attempt: int
    execution: Execution = field(compare=False, repr=False)
    hold: Hold | None = field(default=None, compare=False, repr=False)

    @property
    def stopping(self) -> bool:
        """Whether to stop working on it, as the worker that keeps its lease knows: it is lost, or to be cancelled."""
        return self.hold is not None and self.hold.stopping.is_set()


@dataclass(frozen=True, slots=True)
class Beat:
    """What became of claims at a heartbeat.

    Attributes:
        held: whose leases were extended.
        lost: which somebody else has by now, or which are finished: stop working on them.
        cancelling: of those held, which somebody wants to be cancelled: stop, and say so with `stop`.
    """

    held: Sequence[Claim]
    lost: Sequence[Claim]
    cancelling: Sequence[Claim]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a worker has after finishing some executions and claiming others: the new claims, and the refused ones."""

    claims: Sequence[Claim]
    lost: Sequence[Claim]


@dataclass(frozen=True, slots=True)
class Rescued:
    """An execution whose lease had ended, and what it is now: pending again, failed, or cancelled."""

    id: int
    attempt: int
    status: ExecutionStatus


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed execution rests: anything up to a bound that doubles with each attempt.

    Source: "full jitter" spreads those that failed together (AWS Architecture Blog, Exponential Backoff And Jitter).
    """

    first_seconds: float = 1.0
    longest_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what is no pause.

        Raises: BadInput.
        """
        for name in ("first_seconds", "longest_seconds"):
            if (seconds := getattr(self, name)) != 0:
                lasting(seconds, name)

    def seconds(self, attempt: int, dice: Dice = random.random) -> float:
        """Return how long to rest after an attempt, from 1."""
        doubled = self.first_seconds * 2.0 ** min(attempt - 1, LONGEST_EXPONENT)
        return dice() * min(doubled, self.longest_seconds)


def check_backoff(backoff: Any) -> None:
    """Check how long what has failed rests.

    Raises: BadInput for what does not say.
    """
    if not isinstance(backoff, Backoff):
        raise BadInput(f"a backoff is a Backoff, not {type(backoff).__name__}")
