"""How the leases of what a worker holds are kept: all together, three times as often as they would end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

from agentdb.execution.desks import Desk, Terms
from agentdb.execution.queued import Queued
from agentdb.execution.records import Beat, Claim

BEATS_PER_LEASE: Final = 3

_logger: Final = logging.getLogger("agentdb")


class Keeper:
    """Extends the leases of what lies on a desk, and takes over from workers that are silent.

    Args:
        repository: where the claims come from.
        terms: how the worker works.
        desk: what it holds.
        lost, cancelling: told of each such claim.
    """

    def __init__(
        self,
        repository: Queued,
        terms: Terms,
        desk: Desk,
        lost: Callable[[Claim], Any],
        cancelling: Callable[[Claim], Any],
    ) -> None:
        self._executions = repository
        self._terms = terms
        self._desk = desk
        self._lost = lost
        self._cancelling = cancelling
        self._aside: dict[Claim | None, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep them until cancelled."""
        beats = 0
        try:
            while True:
                await asyncio.sleep(self._terms.lease_seconds / BEATS_PER_LEASE)
                if not self._desk.held:
                    continue  # whoever has nothing to do rescues before it rests
                await self._trying(self._beat)
                beats += 1
                if beats % BEATS_PER_LEASE == 0 and None not in self._aside:
                    self._put_aside(None, self._desk.rescue)
        finally:
            for task in self._aside.values():
                task.cancel()
            if self._aside:
                await asyncio.wait(self._aside.values())

    async def _beat(self) -> None:
        """Extend the leases. Whoever is not found is asked alone, and the others do not wait for that.

        Somebody has it locked: its own handler may, in a unit.
        """
        claims = [claim for claim in self._desk.held if claim not in self._aside]
        beat = await self._heard_of(claims, patient=False)
        for claim in set(claims).difference(beat.held):
            self._put_aside(claim, partial(self._heard_of, [claim], patient=True))

    def _put_aside(self, what: Claim | None, waiting: Callable[[], Awaitable[Any]]) -> None:
        self._aside[what] = task = asyncio.create_task(self._trying(waiting))
        task.add_done_callback(lambda _: self._aside.pop(what))

    async def _trying(self, keeping: Callable[[], Awaitable[Any]]) -> None:
        try:
            await keeping()
        except Exception as error:  # noqa: BLE001 (the next beat is as good; without any, all would be lost)
            _logger.warning("a heartbeat of %s was not taken: %s", self._terms.worker, error)

    async def _heard_of(self, claims: Iterable[Claim], *, patient: bool) -> Beat:
        beat = await self._executions.heartbeat(claims, lease_seconds=self._terms.lease_seconds, patient=patient)
        for told, tell in ((beat.lost, self._lost), (beat.cancelling, self._cancelling)):
            for claim in told:
                if not self._desk.holds(claim):
                    continue  # finished meanwhile
                if claim.hold is not None:
                    claim.hold.stopping.set()
                tell(claim)
        for claim in beat.lost:
            self._desk.drop(claim)
        return beat
