"""Lists of agents' sessions, last active first."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, select

from agentdb.criteria import beyond
from agentdb.engine.asked import whole_number
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, brief
from agentdb.execution.models import AgentSession, AgentSessionStatus
from agentdb.execution.moving import LIVE, is_one_of
from agentdb.guarded import Guarded
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

Statuses = Collection[AgentSessionStatus | str]

_sessions: Final[Table] = AgentSession.__table__  # type: ignore[assignment]


@cache
def _list_plan(whose: str | None, which: tuple[AgentSessionStatus, ...], *, after: bool) -> Plan[AgentSession]:
    order = [_sessions.c.last_active_at, _sessions.c.id]
    statement = select(AgentSession)
    if whose is not None:
        statement = statement.where(_sessions.c[whose] == of(_sessions.c[whose]))
    if which:
        statement = statement.where(is_one_of(which))
    if after:
        statement = statement.where(beyond(order, newest_first=True))
    statement = statement.order_by(*(column.desc() for column in order)).limit(bindparam("limit"))
    return Plan(statement, name="agent_sessions, last active first", rows=AgentSession)


class SessionLists(Guarded[AgentSession]):
    """Agents' sessions, to be looked through."""

    model = AgentSession

    async def of_user(
        self, user_id: int, *, statuses: Statuses = (), limit: int = 50, after: str | None = None
    ) -> Page[AgentSession]:
        """Return a user's sessions, last active first.

        Args: statuses: only those that have one of these.
        Raises: BadInput.
        Cost: one read by ix_agent_sessions__user_id_last_active_at_id.
        """
        return await self._list("user_id", user_id, _known(statuses), limit=limit, after=after)

    async def of_conversation(
        self, conversation_id: int, *, limit: int = 50, after: str | None = None
    ) -> Page[AgentSession]:
        """Return the sessions that were started in a conversation, last active first; its own is the latest started.

        Cost: one read by ix_agent_sessions__conversation_id.
        """
        return await self._list("conversation_id", conversation_id, (), limit=limit, after=after)

    async def of_agent(
        self, agent_id: int, *, statuses: Statuses = (), limit: int = 50, after: str | None = None
    ) -> Page[AgentSession]:
        """Return an agent's sessions, last active first; otherwise as `of_user`.

        Cost: one read by ix_agent_sessions__agent_id.
        """
        return await self._list("agent_id", agent_id, _known(statuses), limit=limit, after=after)

    async def live(self, *, limit: int = 50, after: str | None = None) -> Page[AgentSession]:
        """Return everybody's sessions that run or are paused, last active first.

        Cost: one read by ix_agent_sessions__live.
        """
        return await self._list(None, None, LIVE, limit=limit, after=after)

    async def _list(
        self,
        whose: str | None,
        key: int | None,
        which: tuple[AgentSessionStatus, ...],
        *,
        limit: int,
        after: str | None,
    ) -> Page[AgentSession]:
        limit = capped(limit, self.most)
        values: dict[str, Any] = {"limit": limit + 1}
        if whose is not None:
            values[whose] = whole_number(key, whose)
        listing = f"agent_sessions:{whose}:{key}:{','.join(which)}"
        if after is not None:
            places = values_of(listing, after, [_sessions.c.last_active_at, _sessions.c.id])
            values |= {f"after_{place}": value for place, value in enumerate(places)}
        rows = await self.connection.fetch_all(_list_plan(whose, which, after=after is not None), values)
        return page_of(rows, limit, listing, ["last_active_at", "id"])


def _known(statuses: Statuses) -> tuple[AgentSessionStatus, ...]:
    """Return statuses, each once, in the order of the table, so that there are few plans."""
    given = [statuses] if isinstance(statuses, str) else statuses
    try:
        wanted = {AgentSessionStatus(one) for one in given}
    except (ValueError, TypeError):
        raise BadInput(f"statuses are some of {', '.join(AgentSessionStatus)}, not {brief(statuses)}") from None
    return tuple(one for one in AgentSessionStatus if one in wanted)
