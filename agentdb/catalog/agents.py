"""Agents: definitions that are everybody's, or one user's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Table, bindparam, select, union_all

from agentdb.catalog import toolsets
from agentdb.catalog.models import Agent, Tool
from agentdb.criteria import beyond
from agentdb.engine.asked import is_text, whole_number
from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput, NotFound
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of
from agentdb.types import uuid7

# Names of agents are not unique; the uuid made of owner and name under this one is.
NAMED: Final = UUID("6f0c1b5e-6d6b-5b52-9a3c-0e2f4f6f3d11")

_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]

_BY_UUID: Final = Plan[Agent](
    select(Agent).where(Agent.uuid == of(_agents.c.uuid)), name="agents.by_uuid", rows=Agent, point=True
)


@cache
def _visible_plan(*, after: bool) -> Plan[Agent]:
    """Return the plan that takes a page of the user's own and one of everybody's, each by its index, and sorts both."""
    halves = []
    for condition in (
        [_agents.c.user_id == of(_agents.c.user_id)],
        [_agents.c.user_id.is_(None), _agents.c.visible],
    ):
        half = select(*_agents.c).where(*condition)
        if after:
            half = half.where(beyond([_agents.c.id], newest_first=True))
        half = half.order_by(_agents.c.id.desc()).limit(bindparam("limit"))
        halves.append(select(*half.subquery().c))
    both = union_all(*halves).subquery("seen")
    statement = select(*both.c).order_by(both.c.id.desc()).limit(bindparam("limit"))
    return Plan(statement, name="agents.visible_to", rows=Agent)


def identity_of(name: str, user_id: int | None = None) -> UUID:
    """Return the uuid of the agent that `Agents.get_or_create` makes for an owner under a name.

    Raises: BadInput for a name that is no text, or a user who is no number.
    """
    if not is_text(name):
        raise BadInput(f"an agent's name is text, not {type(name).__name__}")
    if user_id is not None:
        whole_number(user_id, "user_id")
    try:
        return uuid5(NAMED, f"{'' if user_id is None else user_id}:{name}")
    except UnicodeEncodeError:
        raise BadInput(
            "an agent's name holds a lone surrogate, which is not text; decode its source as UTF-8"
        ) from None


class Agents(Repository[Agent]):
    """The definitions of agents. Two may have the same name; `get_or_create` makes one for each owner and name."""

    model = Agent

    async def create(
        self, name: str, *, user_id: int | None = None, tools: Iterable[str] = (), **details: Any
    ) -> Agent:
        """Create an agent with its tools.

        Args:
            name: need not be unique.
            user_id: whose agent it is; None: everybody's.
            tools: the names of its tools.
            details: any other column.

        Raises: BadInput; MissingReference for an unknown user, prompt or model, and for unknown tools, all named.
        Cost: one transaction of one to five statements.
        """
        values = {"name": _filled(name), "user_id": user_id, **details}
        return await self.connection.run(partial(toolsets.created, values, toolsets.named(tools)))

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
        identity = identity_of(_filled(name), user_id)
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

    async def visible_to(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[Agent]:
        """Return a user's own agents, and those of everybody's that are visible, the newest first.

        Cost: one read by ix_agents__user_id_id.
        """
        limit = capped(limit, self.most)
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        listing = f"agents.visible_to:{whole_number(user_id, 'user_id')}"
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_agents.c.id])
        rows = await self.connection.fetch_all(_visible_plan(after=after is not None), values)
        return page_of(rows, limit, listing, ["id"])

    async def tools_of(self, agent_id: int) -> Sequence[Tool]:
        """Return the tools of an agent, by name; none for an unknown one.

        Cost: one read by uq_agent_tools__agent_id_tool_id.
        """
        return await self.connection.fetch_all(toolsets.OF_AGENT, {"agent_id": agent_id})

    async def set_tools(self, agent_id: int, names: Iterable[str]) -> Sequence[Tool]:
        """Give an agent exactly these tools, and return them by name: all at once, or nothing changes.

        Raises: NotFound; MissingReference that names every unknown tool.
        Cost: one transaction of five statements; those that set the tools of one agent follow one another.
        """
        return await self.connection.run(partial(toolsets.tools_set, agent_id, toolsets.named(names)))

    async def clone(self, agent_id: int, *, user_id: int | None, name: str | None = None) -> Agent:
        """Copy an agent with its tools, and return the copy, which has a uuid of its own.

        A copy is no system agent, whatever it was copied from.

        Args:
            agent_id: the user's own, or one of everybody's that is visible.
            user_id: who copies it, and owns the copy; None: the installation, which sees all, for everybody.
            name: the copy's; None: the same.

        Raises: NotFound for one that the user does not see; MissingReference for an unknown user.
        Cost: one transaction of four statements.
        """
        return await self.connection.run(partial(toolsets.cloned, agent_id, user_id, name, uuid7()))

    async def _by_uuid(self, uuid: UUID) -> Agent | None:
        return await self.connection.fetch_one(_BY_UUID, {"uuid": uuid})


def _filled(name: str) -> str:
    if not is_text(name) or not name.strip():
        raise BadInput("an agent's name is text that is not empty")
    return name
