"""What workers do with executions: claim them, keep their leases, and let go of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agentdb.engine.asked import is_text, lasting, several, whole_number
from agentdb.engine.connection import Script, each, every
from agentdb.errors import BadInput, InvalidTransition, brief
from agentdb.execution.claiming import CLAIM, CLAIM_ONE, Wish, claim, in_order
from agentdb.execution.finishing import (
    COMPLETE,
    COMPLETE_AND_CLAIM,
    FAIL,
    HEARTBEAT,
    HEARTBEATS,
    RELEASE,
    RELEASE_MANY,
    STOP,
    by_claim,
)
from agentdb.execution.models import Execution, ExecutionStatus
from agentdb.execution.records import Backoff, Beat, Claim, Dice, Turn, check_backoff
from agentdb.execution.standing import STANDING, Standing, held, holds, refused, shown
from agentdb.guarded import Guarded
from agentdb.repository import capped

LEASE_SECONDS: Final = 60.0
BACKOFF: Final = Backoff()


class Claims(Guarded[Execution]):
    """The executions of queues, as workers see them."""

    model = Execution

    async def claim(
        self,
        worker: str,
        *,
        queue: str = "default",
        n: int = 1,
        lease_seconds: float = LEASE_SECONDS,
        fair: bool = False,
        most_running: int | None = None,
    ) -> list[Claim]:
        """Claim executions that wait, the highest priority first, then the longest available; none is claimed twice.

        Args:
            worker: who claims, for people who look.
            queue: of which queue.
            n: how many at most.
            lease_seconds: how long the claims hold without a heartbeat; from then on `rescue` may take them away.
            fair: users who wait take turns, whoever was served longest ago first, and priorities count within a user.
            most_running: claim only while fewer of the queue run; true when everybody who claims of it says so.

        Cost: one statement by ix_executions__ready, whatever was finished; it passes by what is delayed at a higher
            priority. Fair or with ``most_running``: a transaction that waits for its turn at the queue; fair: two
            look-ups for each user who waits, and a statement for each claim.
        """
        wish = self._wish(worker, queue, lease_seconds, fair=fair, most_running=most_running)
        limit = capped(n, self.most)
        if wish.alone:
            return _claims(await self.connection.run(lambda: claim(wish, limit, self.connection.now)))
        values = wish.values(self.connection.now())
        if limit == 1:
            return _claims(await self.connection.fetch_all(CLAIM_ONE, values))
        rows: list[Execution] = await self.connection.fetch_all(CLAIM, {**values, "limit": limit})
        return _claims(in_order(rows))

    async def heartbeat(
        self, claims: Iterable[Claim], *, lease_seconds: float = LEASE_SECONDS, patient: bool = True
    ) -> Beat:
        """Extend the leases of claims from now on, and tell which are held, which are lost, and which to cancel.

        Args:
            claims: of one worker.
            lease_seconds: how long they hold from now on.
            patient: wait for those that somebody has locked; otherwise they, and those that are lost, are in no list.

        Cost: one statement, on a connection that units leave alone, and one more for each claim that it did not find.
        """
        given = list(several(claims, "claims"))
        if not given:
            return Beat([], [], [])
        now = self.connection.now()
        lease = {"lease_until": now + lasting(lease_seconds, "lease_seconds"), "now": now}
        heard = await self.connection.fetch_all(HEARTBEATS, {**by_claim(given), **lease})
        asked: dict[tuple[int, int], bool | None] = {(row.id, row.attempt): row.cancel_requested for row in heard}
        for claim_ in given if patient else ():  # lost, or somebody has locked it at this moment
            if (claim_.id, claim_.attempt) not in asked:
                found: bool | None = await self.connection.fetch_one(HEARTBEAT, {**held(claim_), **lease})
                asked[claim_.id, claim_.attempt] = found
        told = [(claim_, asked[key]) for claim_ in given if (key := (claim_.id, claim_.attempt)) in asked]
        return Beat(
            held=[claim_ for claim_, wanted in told if wanted is not None],
            lost=[claim_ for claim_, wanted in told if wanted is None],
            cancelling=[claim_ for claim_, wanted in told if wanted],
        )

    async def complete(self, claim: Claim, output: Any = None) -> None:
        """Finish an execution with its output.

        Raises: StaleVersion when another attempt has it, or its lease was taken away; InvalidTransition when it is
            finished already; NotFound when it is gone; BadInput for an output that is not JSON.
        Cost: one update by the key; concurrent calls share one.
        """
        values = {**held(claim), "output": output, "now": self.connection.now()}
        if await self.connection.fetch_one(COMPLETE, values) is None:
            raise refused(claim, await self._standing(claim))
        _end(claim)

    async def fail(
        self,
        claim: Claim,
        error: str,
        *,
        retry: bool = True,
        backoff: Backoff = BACKOFF,
        dice: Dice = random.random,
    ) -> ExecutionStatus:
        """Say that an attempt has failed, and return what becomes of the execution.

        It is pending again after a pause, or failed when its attempts are used up or it is not to be tried again, or
        cancelled when that was asked for.

        Args:
            claim: the attempt.
            error: what happened.
            retry: whether another attempt may help.
            backoff: how long it rests.
            dice: what chooses the pause, from 0 up to 1.

        Raises: as `complete`.
        Cost: one update by the key.
        """
        if not is_text(error):
            raise BadInput(f"an error is told by a text, not {type(error).__name__}")
        check_backoff(backoff)
        if not callable(dice):
            raise BadInput(f"dice are a function, not {type(dice).__name__}")
        now, whose = self.connection.now(), held(claim)
        rest = timedelta(seconds=backoff.seconds(claim.attempt, dice))
        values = {**whose, "error": error, "retry": retry, "available_at": now + rest, "now": now}
        status: ExecutionStatus | None = await self.connection.fetch_one(FAIL, values)
        return await self._let_go(claim, status)

    async def release(self, claim: Claim) -> ExecutionStatus:
        """Give an execution back as if it had not been claimed; it is cancelled when that was asked for.

        The attempt is not used up: one more may be made.

        Raises: as `complete`.
        """
        values = {**held(claim), "now": self.connection.now()}
        status: ExecutionStatus | None = await self.connection.fetch_one(RELEASE, values)
        return await self._let_go(claim, status)

    async def release_many(self, claims: Iterable[Claim]) -> int:
        """Give back those of the claims that are held, and return how many; the others are passed by.

        Cost: one statement.
        """
        given = list(several(claims, "claims"))
        if not given:
            return 0
        values = {**by_claim(given), "now": self.connection.now()}
        released: list[int] = await self.connection.fetch_all(RELEASE_MANY, values)
        for claim_ in given:
            _end(claim_)
        return len(released)

    async def stop(self, claim: Claim) -> None:
        """Say that the work on an execution has stopped because somebody asked for that: it is cancelled.

        Raises: InvalidTransition when nobody did; otherwise as `complete`.
        """
        if await self.connection.fetch_one(STOP, {**held(claim), "now": self.connection.now()}) is None:
            standing = await self._standing(claim)
            if holds(claim, standing):
                raise InvalidTransition(f"nobody asked for execution {claim.id} to be cancelled; use release or fail")
            raise refused(claim, standing)
        _end(claim)

    async def complete_and_claim(
        self,
        finished: Iterable[tuple[Claim, Any]],
        worker: str,
        *,
        queue: str = "default",
        n: int = 1,
        lease_seconds: float = LEASE_SECONDS,
    ) -> Turn:
        """Finish executions with their outputs, and claim the next ones; claims that do not hold are told, not raised.

        Cost: one statement (on SQLite one hop and one transaction), and another for each refused claim.
        """
        pairs = [_pair(pair) for pair in several(finished, "finished")]
        wish, now = self._wish(worker, queue, lease_seconds), self.connection.now()
        limit = capped(n, self.most)
        if not self.connection.chains:
            done, rows = await self.connection.run(lambda: _complete_and_claim(pairs, wish, limit, now))
        else:
            outputs = [output for _, output in pairs]
            given = {**by_claim([claim_ for claim_, _ in pairs]), "output": outputs, **wish.values(now), "limit": limit}
            both: list[Execution] = await self.connection.fetch_all(COMPLETE_AND_CLAIM, given)
            rows = in_order(row for row in both if row.status is ExecutionStatus.running)
            done = {(row.id, row.attempt) for row in both if row.status is ExecutionStatus.completed}
            for claim_, output in pairs:  # lost, or somebody has locked it at this moment
                if (claim_.id, claim_.attempt) not in done:
                    values = {**held(claim_), "output": output, "now": now}
                    if await self.connection.fetch_one(COMPLETE, values) is not None:
                        done.add((claim_.id, claim_.attempt))
        for claim_, _ in pairs:
            _end(claim_)
        lost = [claim_ for claim_, _ in pairs if (claim_.id, claim_.attempt) not in done]
        return Turn(_claims(rows), lost)

    def _wish(
        self, worker: str, queue: str, lease_seconds: float, *, fair: bool = False, most_running: int | None = None
    ) -> Wish:
        for name, value in (("worker", worker), ("queue", queue)):
            if not is_text(value) or not value:
                raise BadInput(f"{name} is a text that is not empty, not {brief(value)}")
        if most_running is not None and whole_number(most_running, "most_running") < 1:
            raise BadInput(f"most_running is a whole number from 1, not {most_running}")
        return Wish(worker, queue, lasting(lease_seconds, "lease_seconds"), fair, most_running)

    async def _standing(self, claim: Claim) -> Standing | None:
        standing: Standing | None = await self.connection.fetch_one(STANDING, {"id": claim.id})
        return standing

    async def _let_go(self, claim: Claim, status: ExecutionStatus | None) -> ExecutionStatus:
        if status is None:
            raise refused(claim, await self._standing(claim))
        _end(claim)
        return status


def _complete_and_claim(
    pairs: Sequence[tuple[Claim, Any]], wish: Wish, limit: int, now: datetime
) -> Script[tuple[set[tuple[int, int]], list[Execution]]]:
    calls = [{**held(claim_), "output": output, "now": now} for claim_, output in pairs]
    done = yield from each(COMPLETE, calls)
    rows = yield from every(CLAIM, **wish.values(now), limit=limit)
    kept = zip(pairs, done, strict=True)
    return {(claim_.id, claim_.attempt) for (claim_, _), id_ in kept if id_ is not None}, in_order(rows)


def _pair(given: Any) -> tuple[Claim, Any]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise BadInput(f"finished: pairs of a claim and its output were expected, and not {type(given).__name__}")
    return shown(given[0]), given[1]


def _claims(rows: Iterable[Execution]) -> list[Claim]:
    return [Claim(row.id, row.attempt, row) for row in rows]


def _end(claim: Claim) -> None:
    if claim.hold is not None:
        claim.hold.end()


def later(now: datetime, delay_seconds: float) -> datetime:
    """Return the moment so many seconds from now.

    Raises: BadInput for a delay below 0.
    """
    return now + (lasting(delay_seconds, "delay_seconds") if delay_seconds != 0 else timedelta(0))
