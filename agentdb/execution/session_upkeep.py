"""What is done for agents' sessions by whoever looks after them: the silent ones end, old conversations get theirs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from agentdb.engine.asked import lasting
from agentdb.execution.adopting import Adopted, adoptable, adopted
from agentdb.execution.models import AgentSessionStatus
from agentdb.execution.moving import EXPIRE, marked
from agentdb.execution.session_lists import SessionLists
from agentdb.repository import capped

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Expired:
    """How many silent sessions were let fail.

    Attributes:
        expired: how many.
        finished: whether none was left; otherwise the time was up, and the next call goes on.
    """

    expired: int
    finished: bool


class SessionUpkeep(SessionLists):
    """Agents' sessions, to be looked after."""

    async def expire(self, idle_seconds: float, *, limit: int = 1_000) -> int:
        """Let live sessions fail that have been silent for too long, and return how many; `resume` recovers each.

        Any number of processes may do so at once: each takes others, and passes by what somebody uses right now.

        Args: idle_seconds: for how long; limit: how many at most, so that the transaction stays short.
        Cost: one statement, by ix_agent_sessions__live.
        """
        now = self.connection.now()
        values = {
            "before": now - lasting(idle_seconds, "idle_seconds"),
            "to": AgentSessionStatus.failed,
            "error": marked("error", f"nothing happened for {idle_seconds} seconds", now),
            "limit": capped(limit, self.most),
            "now": now,
        }
        return len(await self.connection.fetch_all(EXPIRE, values))

    async def expire_all(self, idle_seconds: float, *, budget_seconds: float = 60, batch: int = BATCH) -> Expired:
        """Let all live sessions fail that have been silent for too long, batch by batch, until the time is up.

        Each batch is stored by itself: whoever is interrupted leaves the rest to the next call.

        Args: idle_seconds: for how long; budget_seconds: no batch begins after it; batch: how many in a transaction.
        Cost: a statement for each batch, as `expire`.
        """
        batch = capped(batch, self.most)
        ends, expired = time.monotonic() + lasting(budget_seconds, "budget_seconds").total_seconds(), 0
        while True:
            many = await self.expire(idle_seconds, limit=batch)
            expired += many
            if many < batch:
                return Expired(expired, finished=True)
            if time.monotonic() >= ends:
                return Expired(expired, finished=False)

    async def adopt(self, *, after: int = 0, limit: int = BATCH) -> Adopted:
        """Give the next conversations without a session one that is completed, and tell what was done.

        A conversation is taken that is not deleted, has no session, and names an agent: by its ``agent_id``, or in its
        metadata. The session has its times, the metadata's ``agent_context``, and both refer to each other. Begun again
        at any point, nothing is made twice.

        Args: after: the ``last`` of the batch before; limit: how many conversations are looked at.
        Cost: one transaction of three reads and two statements for each session it makes.
        """
        return await self.connection.run(partial(adopted, after, capped(limit, self.most)))

    async def adoptable(self, *, after: int = 0, limit: int = BATCH) -> Adopted:
        """Return what `adopt` would do, and do nothing.

        Cost: one transaction of three reads.
        """
        return await self.connection.run(partial(adoptable, after, capped(limit, self.most)))
