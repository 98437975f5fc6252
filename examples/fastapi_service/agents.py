"""Agents, and what they can be made of."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.models import Agent, AIModel, Tool
from examples.fastapi_service.callers import Me, Mine
from examples.fastapi_service.parameters import Asked, Id, Json, Title

routes = APIRouter(tags=["agents"])


class NewAgent(Asked):
    """An agent of one's own."""

    name: Title = Field(examples=["guide"])
    description: str | None = Field(default=None, max_length=10_000)
    system_prompt: str | None = Field(default=None, max_length=100_000)
    tools: list[Title] = Field(default=[], max_length=50, description="By name, as the catalog has them.")
    config: Json = Field(default={})


class AgentShown(
    Shown,
    of=Agent,
    shows=("id", "uuid", "user_id", "name", "description", "system_prompt", "config", "is_system", "created_at"),
):
    """An agent; `user_id` null: everybody's."""


class ModelShown(
    Shown, of=AIModel, shows=("id", "key", "name", "type", "description", "max_context", "max_output", "is_default")
):
    """A model that can be called."""


class ToolShown(Shown, of=Tool, shows=("id", "name", "description", "category", "type", "parameters", "is_builtin")):
    """A tool that agents can be given."""


@routes.get("/agents", responses=problems(422))
async def list_agents(mine: Mine, me: Me, paging: Paging) -> PageShown[AgentShown]:
    """List one's agents, and everybody's."""
    return paging.shown(await mine.catalog.agents.visible_to(me.user_id, **paging.words), AgentShown)


@routes.post("/agents", status_code=201, responses=problems(404, 409, 422))
async def create_agent(new: NewAgent, mine: Mine, me: Me) -> AgentShown:
    """Make an agent of one's own."""
    return AgentShown.model_validate(await mine.catalog.agents.create(user_id=me.user_id, **new.model_dump()))


@routes.get("/agents/{agent_id}", responses=problems(404))
async def show_agent(agent_id: Id, mine: Mine) -> AgentShown:
    """Show an agent."""
    return AgentShown.model_validate(await mine.catalog.agents.get(agent_id))


@routes.get("/models", responses=problems(422))
async def list_models(mine: Mine, paging: Paging) -> PageShown[ModelShown]:
    """List the models of the catalog."""
    return paging.shown(await mine.catalog.models.list(**paging.words), ModelShown)


@routes.get("/tools", responses=problems(422))
async def list_tools(mine: Mine, paging: Paging) -> PageShown[ToolShown]:
    """List the tools of the catalog."""
    return paging.shown(await mine.catalog.tools.list(**paging.words), ToolShown)
