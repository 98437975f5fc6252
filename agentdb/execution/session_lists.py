"""Lists of agents' sessions, last active first."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, select

from agentdb.criteria import beyond
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.execution.models import AgentSession
from agentdb.execution.moving import LIVE, is_one_of
from agentdb.guarded import Guarded
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

_sessions: Final[Table] = AgentSession.__table__  # type: ignore[assignment]


@cache
def _list_plan(whose: str | None, *, live: bool, after: bool) -> Plan[AgentSession]:
    order = [_sessions.c.last_active_at, _sessions.c.id]
    statement = select(AgentSession)
    if whose is not None:
        statement = statement.where(_sessions.c[whose] == of(_sessions.c[whose]))
    if live:
        statement = statement.where(is_one_of(LIVE))
    if after:
        statement = statement.where(beyond(order, newest_first=True))
    statement = statement.order_by(*(column.desc() for column in order)).limit(bindparam("limit"))
    return Plan(statement, name="agent_sessions, last active first", rows=AgentSession)


class SessionLists(Guarded[AgentSession]):
    """Agents' sessions, to be looked through."""

    model = AgentSession

    async def of_user(
        self, user_id: int, *, live: bool = False, limit: int = 50, after: str | None = None
    ) -> Page[AgentSession]:
        """Return a user's sessions, last active first.

        Args: live: only those that run or are paused.
        Cost: one read by ix_agent_sessions__user_id_last_active_at_id.
        """
        return await self._list("user_id", user_id, live=live, limit=limit, after=after)

    async def of_conversation(
        self, conversation_id: int, *, limit: int = 50, after: str | None = None
    ) -> Page[AgentSession]:
        """Return the sessions that were started in a conversation, last active first; its own is the latest started.

        Cost: one read by ix_agent_sessions__conversation_id.
        """
        return await self._list("conversation_id", conversation_id, live=False, limit=limit, after=after)

    async def of_agent(
        self, agent_id: int, *, live: bool = False, limit: int = 50, after: str | None = None
    ) -> Page[AgentSession]:
        """Return an agent's sessions, last active first.

        Cost: one read by ix_agent_sessions__agent_id.
        """
        return await self._list("agent_id", agent_id, live=live, limit=limit, after=after)

    async def live(self, *, limit: int = 50, after: str | None = None) -> Page[AgentSession]:
        """Return everybody's sessions that run or are paused, last active first.

        Cost: one read by ix_agent_sessions__live.
        """
        return await self._list(None, None, live=True, limit=limit, after=after)

    async def _list(
        self, whose: str | None, key: int | None, *, live: bool, limit: int, after: str | None
    ) -> Page[AgentSession]:
        limit, listing = capped(limit, self.most), f"agent_sessions:{whose}:{key}:{live}"
        values: dict[str, Any] = {"limit": limit + 1}
        if whose is not None:
            values[whose] = key
        if after is not None:
            places = values_of(listing, after, [_sessions.c.last_active_at, _sessions.c.id])
            values |= {f"after_{place}": value for place, value in enumerate(places)}
        rows = await self.connection.fetch_all(_list_plan(whose, live=live, after=after is not None), values)
        return page_of(rows, limit, listing, ["last_active_at", "id"])
