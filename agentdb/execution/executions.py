"""Executions: put into a queue, claimed by workers, finished; and the workers themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from agentdb.engine.asked import finite
from agentdb.errors import BadInput, brief
from agentdb.execution.claims import BACKOFF, LEASE_SECONDS
from agentdb.execution.desks import Terms
from agentdb.execution.queued import Queued
from agentdb.execution.records import Backoff, Claim, check_backoff
from agentdb.execution.working import Crew, Handler, work, worker_name
from agentdb.repository import capped

DRAIN_SECONDS: Final = 30.0


class Executions(Queued):
    """Workflows to be run, running, or run."""

    def work(
        self,
        *,
        queue: str = "default",
        worker: str | None = None,
        concurrency: int = 1,
        lease_seconds: float = LEASE_SECONDS,
        fair: bool = False,
        most_running: int | None = None,
    ) -> AsyncGenerator[Claim, None]:
        """Yield claims as there is work, for ever: ``async for claim in executions.work(): ...``.

        Whoever gets a claim ends it by `complete`, `fail`, `release` or `stop`; until then it counts as held, its lease
        is kept, and with ``concurrency`` of them no further claim comes. `Claim.stopping` says when to give up.

        When the generator is closed (``contextlib.aclosing``), what is still held is given back.

        Args:
            queue: whose executions.
            worker: its name; by default made of the host, the process and a random mark.
            concurrency: how many it holds at once; they are claimed together.
            lease_seconds: how long it may be silent before others take over; heartbeats come three times as often.
            fair: see `claim`.
            most_running: see `claim`.

        Raises: BadInput in a unit; Unavailable when the database is closed. While it is away the worker waits.
        Cost: one statement for each batch; while nothing happens, four reads in a minute.
        """
        return work(self, self._terms(worker, queue, concurrency, lease_seconds, fair, most_running))

    async def run(
        self,
        handler: Handler,
        *,
        queue: str = "default",
        worker: str | None = None,
        concurrency: int = 4,
        lease_seconds: float = LEASE_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
        backoff: Backoff = BACKOFF,
        fair: bool = False,
        most_running: int | None = None,
    ) -> None:
        """Let a handler work on claims, several at once, until this is cancelled.

        What the handler returns is the output; what it raises fails the attempt, to be tried again. It may also end
        the claim by itself. It is cancelled when the claim is lost, and when somebody wants the execution cancelled.

        When this is cancelled, nothing more is claimed; handlers may finish for ``drain_seconds``, then they are
        cancelled, and what they held is given back without using up an attempt. A second cancellation does not wait.

        Args:
            handler: ``async def handler(claim) -> output``.
            queue: as `work`, likewise the others.
            worker: its name.
            concurrency: how many handlers at once.
            lease_seconds: how long it may be silent.
            drain_seconds: how long handlers may finish.
            backoff: how long an execution rests whose handler has raised.
            fair: whether users take turns.
            most_running: how many of the queue may run at once.

        Raises: as `work`.
        """
        terms = self._terms(worker, queue, concurrency, lease_seconds, fair, most_running)
        # What is wrong with these is no execution's fault, and none shall bear it.
        if finite(drain_seconds, "drain_seconds") < 0:
            raise BadInput(f"drain_seconds is a number from 0, not {brief(drain_seconds)}")
        if not callable(handler):
            raise BadInput(f"a handler is a function, not {type(handler).__name__}")
        check_backoff(backoff)
        await Crew(self, terms, handler, backoff).run(drain_seconds)

    def _terms(
        self,
        worker: str | None,
        queue: str,
        concurrency: int,
        lease_seconds: float,
        fair: bool,
        most_running: int | None,
    ) -> Terms:
        name = worker or worker_name()
        self._wish(name, queue, lease_seconds, fair=fair, most_running=most_running)  # refuses what a claim would
        return Terms(name, queue, capped(concurrency, self.most), lease_seconds, fair, most_running)
