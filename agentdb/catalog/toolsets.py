"""The tools of agents within a transaction: set, copied, and found by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, and_, bindparam, delete, not_, or_, select, true

from agentdb.catalog.models import Agent, AgentTool, Tool
from agentdb.engine.asked import texts
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, each, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import MissingReference, NotFound

_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]
_tools: Final[Table] = Tool.__table__  # type: ignore[assignment]
_links: Final[Table] = AgentTool.__table__  # type: ignore[assignment]

# What a copy of an agent has of it.
_COPIED: Final = (
    "name",
    "description",
    "system_prompt",
    "prompt_id",
    "model_id",
    "model_parameters",
    "config",
    "visible",
)

OF_AGENT: Final = Plan[Tool](
    select(Tool)
    .join(AgentTool, AgentTool.tool_id == Tool.id)
    .where(AgentTool.agent_id == bindparam("agent_id"))
    .order_by(Tool.name),
    name="agents.tools_of",
    rows=Tool,
)
# Whoever sets or copies the tools of an agent follows whoever does so already.
_LOCK: Final = Plan[int](
    select(_agents.c.id).where(_agents.c.id == of(_agents.c.id, "agent_id")).with_for_update(),
    name="agents.set_tools: locked",
)
_LOCK_SEEN: Final = Plan[Agent](
    select(Agent)
    .where(
        Agent.id == of(_agents.c.id, "agent_id"),
        or_(
            of(_agents.c.user_id, "seen_by").is_(None),
            Agent.user_id == of(_agents.c.user_id, "seen_by"),
            and_(Agent.user_id.is_(None), Agent.visible == true()),
        ),
    )
    .with_for_update(),
    name="agents.clone: locked",
    rows=Agent,
)
# Not removed by anybody until the end: a tool that goes now would take the agent's with it.
_NAMED: Final = Plan[Tool](
    select(Tool).where(among(_tools.c.name, "names")).order_by(Tool.id).with_for_update(read=True, key_share=True),
    name="agents.set_tools: tools",
    rows=Tool,
)
_HELD: Final = Plan[int](
    select(_links.c.tool_id).where(_links.c.agent_id == of(_links.c.agent_id)), name="agents.set_tools: held"
)
_TAKE: Final = Plan[None](
    delete(_links).where(_links.c.agent_id == of(_links.c.agent_id), not_(among(_links.c.tool_id, "kept"))),
    name="agents.set_tools: take",
)


def named(names: Iterable[str]) -> list[str]:
    """Return the names of tools, each once.

    Raises: BadInput for what is not a list of names.
    """
    return sorted(set(texts(names, "tools")))


def tools_set(agent_id: int, names: Sequence[str]) -> Script[list[Tool]]:
    """Within a script: give an agent exactly these tools, and return them by name."""
    if (yield from one(_LOCK, agent_id=agent_id)) is None:
        raise NotFound(f"there is no agent {agent_id}")
    return (yield from given(agent_id, names))


def given(agent_id: int, names: Sequence[str]) -> Script[list[Tool]]:
    """Within a script: give an agent that nobody else writes to exactly these tools."""
    tools = {tool.name: tool for tool in (yield from every(_NAMED, names=names))}
    unknown = [name for name in names if name not in tools]
    if unknown:
        told = ", ".join(map(repr, unknown))
        raise MissingReference(f"there is no tool {told}; create what is missing, or leave it out")
    wanted = [tools[name] for name in names]
    yield from count(_TAKE, agent_id=agent_id, kept=[tool.id for tool in wanted])
    held = set((yield from every(_HELD, agent_id=agent_id)))
    new = [{"agent_id": agent_id, "tool_id": tool.id} for tool in wanted if tool.id not in held]
    yield from each(insert_one(AgentTool), new)
    return wanted


def created(values: Mapping[str, Any], names: Sequence[str]) -> Script[Agent]:
    """Within a script: add an agent with its tools."""
    agent: Agent | None = yield from one(insert_one(Agent), **values)
    if agent is None:
        raise NotFound("agents: the row was not stored; a trigger or a rule took it away")
    if names:
        yield from given(agent.id, names)
    return agent


def cloned(agent_id: int, user_id: int | None, name: str | None, uuid: UUID) -> Script[Agent]:
    """Within a script: copy an agent that a user sees, with its tools."""
    agent: Agent | None = yield from one(_LOCK_SEEN, agent_id=agent_id, seen_by=user_id)
    if agent is None:
        told = "" if user_id is None else f" that user {user_id} sees"
        raise NotFound(f"there is no agent {agent_id}{told}")
    values = {column: getattr(agent, column) for column in _COPIED}
    values |= {"metadata": agent.metadata_, "user_id": user_id, "uuid": uuid}
    if name is not None:
        values["name"] = name
    tools = yield from every(OF_AGENT, agent_id=agent_id)
    copy: Agent | None = yield from one(insert_one(Agent), **values)
    if copy is None:
        raise NotFound("agents: the row was not stored; a trigger or a rule took it away")
    links = [{"agent_id": copy.id, "tool_id": tool.id} for tool in sorted(tools, key=_id)]
    yield from each(insert_one(AgentTool), links)
    return copy


def _id(tool: Tool) -> int:
    return tool.id
