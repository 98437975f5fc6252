"""A worker's desk: the claims it holds, whose leases are kept, and how new ones come to lie on it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select

from agentdb.engine.plan import Plan
from agentdb.engine.watching import Watch
from agentdb.errors import BadInput, Unavailable
from agentdb.execution.answers import Answers, settle
from agentdb.execution.claiming import OF_QUEUE, URGENCY, WAITS
from agentdb.execution.models import CHANGED, WAITING, ExecutionStatus
from agentdb.execution.queued import Queued
from agentdb.execution.records import Claim, Hold
from agentdb.execution.standing import executions, is_now

POLL_SECONDS: Final = 20.0
SHORTEST_SECONDS: Final = 0.001
SOON_SECONDS: Final = 0.01
LONGEST_DEAF_SECONDS: Final = 0.5
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0

Key = tuple[int, int]

_logger: Final = logging.getLogger("agentdb")


@dataclass(frozen=True, slots=True)
class _Next:
    """When something is due: an execution of the queue may be claimed, or a lease of any queue ends."""

    available_at: datetime | None
    lease_expires_at: datetime | None


def _next_plan() -> Plan[_Next]:
    ready = select(executions.c.available_at).where(*WAITS).order_by(*URGENCY).limit(1)
    waiting = select(func.min(executions.c.available_at)).where(OF_QUEUE, is_now(ExecutionStatus.pending))
    leased = select(func.min(executions.c.lease_expires_at)).where(is_now(ExecutionStatus.running))
    # All that waits is looked through only when none of it is ready: a queue with a limit may be long.
    available = func.coalesce(ready.scalar_subquery(), waiting.scalar_subquery(), type_=executions.c.available_at.type)
    return Plan(select(available, leased.scalar_subquery()), name="executions.next", rows=_Next)


_NEXT: Final = _next_plan()


@dataclass(frozen=True, slots=True)
class Terms:
    """How a worker works.

    Attributes:
        worker: its name.
        queue: whose executions it takes.
        concurrency: how many it holds at once.
        lease_seconds: how long it may be silent before others take over.
        fair, most_running: as `Claims.claim`.
    """

    worker: str
    queue: str
    concurrency: int
    lease_seconds: float
    fair: bool
    most_running: int | None

    @property
    def alone(self) -> bool:
        """Whether claiming takes turns with other workers: then nothing else is done in it."""
        return self.fair or self.most_running is not None

    @property
    def topic(self) -> str:
        """What wakes it: what may be claimed; with a limit also what makes room."""
        return WAITING if self.most_running is None else CHANGED


class Desk:
    """The claims of one worker.

    Args:
        repository: where they come from; the database itself, not a unit.
        terms: how the worker works.
        watch: wakes it when executions may have changed.
    """

    def __init__(self, repository: Queued, terms: Terms, watch: Watch) -> None:
        self._executions = repository
        self._terms = terms
        self._watch = watch
        self._held: dict[Key, Claim] = {}
        self._answers = Answers()
        self._deaf_seconds = 0.0
        self._busy = False  # there may be more where the last claims came from
        self._vain = False  # there were none

    @property
    def held(self) -> list[Claim]:
        """The claims it holds."""
        return list(self._held.values())

    def holds(self, claim: Claim) -> bool:
        """Tell whether it still holds a claim."""
        return _key(claim) in self._held

    # Taking

    async def more(self) -> list[Claim]:
        """Wait until there is room and something to do, and claim it; while the database is away, wait longer.

        Raises: Unavailable when it is closed.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._wait_for_room()
                if not self._busy and not self._answers:
                    await self._rest(vain=self._vain)
                claims = await self._claim()
            except Unavailable:
                self._answers.close()
                # Not more often when it is told: that it is told does not mean that it answers.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (spreads workers)
                await self._watch.wait(SOON_SECONDS)  # says when the database is closed
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except BaseException:
                self._answers.close()
                raise
            else:
                self._busy = len(self._held) >= self._terms.concurrency
                self._vain = not self._busy and not claims
                if claims:
                    self._deaf_seconds = 0.0
                    return claims

    async def _wait_for_room(self) -> None:
        """Wait until something is finished, while there is no room for more; answers are welcome from now on."""
        if not self._terms.alone:
            self._answers.open()
        while len(self._held) >= self._terms.concurrency and not self._answers:
            await self._answers.wait()

    async def _claim(self) -> list[Claim]:
        """Claim as many as there is room for, and tell what is finished: cancelled, it gives back what it claimed."""
        asking = asyncio.ensure_future(self._turn())
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            with suppress(Exception):
                await self._executions.release_many(await asking)
            raise

    async def _turn(self) -> list[Claim]:
        terms, executions = self._terms, self._executions
        given = self._answers.take()
        finished = {_key(claim) for claim, _, _ in given}
        room = terms.concurrency - len(self._held.keys() - finished)
        told: set[Key] = set()
        try:
            if given and room > 0:
                pairs = [(claim, output) for claim, output, _ in given]
                turn = await executions.complete_and_claim(
                    pairs, terms.worker, queue=terms.queue, n=room, lease_seconds=terms.lease_seconds
                )
                told = finished
                for lost in turn.lost:
                    _logger.debug("execution %s, attempt %s: others took over", lost.id, lost.attempt)
                return self._put(turn.claims)
        except BadInput as error:  # one of them is not JSON
            _logger.debug("outputs of %s are told one by one: %s", terms.worker, error)
        finally:
            settle(given, told)
        if room < 1:
            return []
        return self._put(
            await executions.claim(
                terms.worker,
                queue=terms.queue,
                n=room,
                lease_seconds=terms.lease_seconds,
                fair=terms.fair,
                most_running=terms.most_running,
            )
        )

    async def answer(self, claim: Claim, output: Any) -> bool:
        """Have the output of a claim told with the next claiming, and return whether it was."""
        return await self._answers.give(claim, output)

    def _put(self, claims: Iterable[Claim]) -> list[Claim]:
        return [self._held.setdefault(_key(claim), self._kept(claim)) for claim in claims]

    def _kept(self, claim: Claim) -> Claim:
        return replace(claim, hold=Hold(lambda: self.drop(claim)))

    def drop(self, claim: Claim) -> None:
        """Hold a claim no longer."""
        if self._held.pop(_key(claim), None) is not None:
            self._answers.wake()

    async def _rest(self, *, vain: bool) -> None:
        """Wait until there is something to claim. It only reads: a claim in vain would wake all who rest.

        Args: vain: what is there to be claimed could not be had: enough of the queue runs, or others have it locked.
        """
        self._answers.close()  # they would wait as long
        while True:
            due, now = await self._next()
            if await self._rescued(due, now) or (_past(due.available_at, now) and not vain):
                return
            vain = False
            moments = [moment for moment in (due.available_at, due.lease_expires_at) if moment is not None]
            seconds = [max((moment - now).total_seconds(), SHORTEST_SECONDS) for moment in moments if moment > now]
            # Nobody tells of a claim: whoever wants leases to be short looks for those that end as often.
            poll = min(POLL_SECONDS, self._terms.lease_seconds) * random.uniform(0.8, 1.0)  # noqa: S311 (spreads workers)
            if not await self._watch.wait(min([poll, *seconds])):
                self._deaf_seconds = 0.0
                continue
            # Told in vain, as others were quicker or it was a heartbeat, it does not react at once the next time.
            await asyncio.sleep(self._deaf_seconds)
            self._deaf_seconds = min(max(2 * self._deaf_seconds, SOON_SECONDS), LONGEST_DEAF_SECONDS)

    async def _next(self) -> tuple[_Next, datetime]:
        connection = self._executions.connection
        now = connection.now()
        due: _Next | None = await connection.fetch_one(_NEXT, {"queue": self._terms.queue, "now": now})
        return due or _Next(None, None), now

    async def rescue(self) -> None:
        """Take over from workers that are silent."""
        await self._rescued(*await self._next())

    async def _rescued(self, due: _Next, now: datetime) -> bool:
        """Take over from workers that are silent, and tell whether there were any."""
        return _past(due.lease_expires_at, now) and bool(await self._executions.rescue())

    # Clearing

    async def clear(self) -> None:
        """Give back what is still held; what cannot be given back is taken away when its lease ends."""
        self._answers.close()
        with suppress(Unavailable):
            await self._executions.release_many(self.held)
        self._held.clear()


def _key(claim: Claim) -> Key:
    return claim.id, claim.attempt


def _past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now
