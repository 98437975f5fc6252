"""Agents: definitions that are everybody's, or one user's."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Table, select

from agentdb.catalog.models import Agent
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import NotFound
from agentdb.page import Page
from agentdb.repository import Repository

# Names of agents are not unique; the uuid made of owner and name under this one is.
NAMED: Final = UUID("6f0c1b5e-6d6b-5b52-9a3c-0e2f4f6f3d11")

_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]

_BY_UUID: Final = Plan[Agent](
    select(Agent).where(Agent.uuid == of(_agents.c.uuid)), name="agents.by_uuid", rows=Agent, point=True
)


class Agents(Repository[Agent]):
    """The definitions of agents. Two may have the same name; `get_or_create` makes one for each owner and name."""

    model = Agent

    async def get_or_create(self, name: str, *, user_id: int | None = None, **details: Any) -> tuple[Agent, bool]:
        """Return the agent made under this name, and whether this call made it: of many at once, exactly one does.

        An agent that was given another name later is still found by the one it was made under; one that was added by
        other ways is not.

        Args:
            name: of the agent to make.
            user_id: whose agent it is; None: everybody's.
            details: what else the agent to make has, by column; one that is there stays as it is.

        Raises: BadInput; MissingReference for an unknown user, prompt or model.
        Cost: one read when it is there, and one insert when it is new.
        """
        identity = uuid5(NAMED, f"{'' if user_id is None else user_id}:{name}")
        agent = await self._by_uuid(identity)
        if agent is not None:
            return agent, False
        values = {"uuid": identity, "name": name, "user_id": user_id, **details}
        agent = await self.connection.fetch_one(insert_unless_there(Agent, ("uuid",)), values)
        if agent is not None:
            return agent, True
        return self._there(await self._by_uuid(identity)), False

    async def by_uuid(self, uuid: UUID) -> Agent:
        """Return the agent with this uuid.

        Raises: NotFound.
        """
        agent = await self._by_uuid(uuid)
        if agent is None:
            raise NotFound(f"there is no agent {uuid}")
        return agent

    async def list(self, *, user_id: int | None = None, limit: int = 50, after: str | None = None) -> Page[Agent]:
        """Return a user's own agents by name; with no user, everybody's."""
        return await self.page(by="name", limit=limit, after=after, user_id=user_id)

    async def _by_uuid(self, uuid: UUID) -> Agent | None:
        return await self.connection.fetch_one(_BY_UUID, {"uuid": uuid})
