"""What agents are made of, and who may use what."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, relationship, validates

from agentdb.base import Entity, Mutable
from agentdb.engine.folding import folded
from agentdb.engine.schema.ddl import partial_index
from agentdb.owners import Owner
from agentdb.types import (
    CASCADE,
    SET_NULL,
    Json,
    Key,
    Money,
    Name,
    Prose,
    Secret,
    Uuid,
    Whole,
    choice,
    flag,
    json,
    ref,
    words,
)


class ModelType(StrEnum):
    """What a model does."""

    llm = auto()
    image = auto()
    embedding = auto()
    audio = auto()
    rerank = auto()
    moderation = auto()
    other = auto()


class Provider(Mutable, Entity):
    """Who serves models, and where."""

    __tablename__ = "providers"
    __table_args__ = (UniqueConstraint("name"),)
    __owner__ = Owner.catalog

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    name: Mapped[Name]
    api_type: Mapped[Name | None]
    endpoint: Mapped[Prose | None]
    api_key: Mapped[Secret | None]
    api_key_variable: Mapped[Name | None]  # the variable that holds the key instead

    models: Mapped[list[AIModel]] = relationship(back_populates="provider", lazy="raise", passive_deletes="all")


class AIModel(Mutable, Entity):
    """A model, what it can do, and what it costs in dollars per million tokens."""

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("key"),
        # serves the default model of a type
        partial_index("uq_models__type", "type", where="is_default", unique=True),
    )
    __owner__ = Owner.catalog

    id: Mapped[Key]
    key: Mapped[Name]
    provider_id: Mapped[int | None] = ref("providers.id", SET_NULL)
    name: Mapped[Name]
    version_name: Mapped[Name]  # what the provider calls it
    type: Mapped[ModelType] = choice(ModelType)
    description: Mapped[Prose | None]
    max_context: Mapped[Whole | None]  # tokens, as the two below
    max_output: Mapped[Whole | None]
    max_reasoning: Mapped[Whole | None]
    price_input: Mapped[Money | None]
    price_output: Mapped[Money | None]
    price_cache_read: Mapped[Money | None]
    price_cache_write: Mapped[Money | None]
    pricing: Mapped[Json] = json(dict)  # price by unit, where the unit is not a token
    capabilities: Mapped[Json] = json(dict)
    default_parameters: Mapped[Json] = json(dict)
    meta: Mapped[Json] = json(dict)
    rate_limit_per_minute: Mapped[Whole | None]
    rate_limit_per_hour: Mapped[Whole | None]
    rate_limit_per_day: Mapped[Whole | None]
    is_active: Mapped[bool] = flag(True)
    is_default: Mapped[bool] = flag(False)
    is_builtin: Mapped[bool] = flag(False)
    is_custom: Mapped[bool] = flag(False)
    shipped: Mapped[Json | None]  # of a built-in model that is custom: what it is when it ceases to be

    provider: Mapped[Provider | None] = relationship(back_populates="models", lazy="raise")


class Prompt(Mutable, Entity):
    """A version of a prompt."""

    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("name", "version"),)
    __owner__ = Owner.catalog

    id: Mapped[Key]
    name: Mapped[Name]
    version: Mapped[Whole]
    content: Mapped[Prose]


class Tool(Mutable, Entity):
    """Something an agent can call."""

    __tablename__ = "tools"
    __table_args__ = (UniqueConstraint("name"),)
    __owner__ = Owner.catalog

    id: Mapped[Key]
    name: Mapped[Name]
    description: Mapped[str] = words("")
    category: Mapped[Name | None]
    type: Mapped[Name | None]
    parameters: Mapped[Json] = json(list)
    authentication_type: Mapped[Name | None]
    endpoint: Mapped[Prose | None]
    transport_type: Mapped[Name | None]
    custom_config: Mapped[Json] = json(dict)
    code: Mapped[Prose | None]
    is_builtin: Mapped[bool] = flag(False)
    name_folded: Mapped[str] = words("")  # what a search compares: the text, `folded`
    description_folded: Mapped[str] = words("")

    @validates("name", "description")
    def _fold(self, name: str, text: str | None) -> str | None:
        """Keep what is searched with what is shown, whoever writes through a session."""
        setattr(self, f"{name}_folded", folded(text) if isinstance(text, str) else "")
        return text


class Agent(Mutable, Entity):
    """The definition of an agent."""

    __tablename__ = "agents"
    # serves a user's own agents, and everybody's, the newest first
    __table_args__ = (Index(None, "user_id", "id"),)
    __owner__ = Owner.first_of(Owner.by("user_id"), Owner.catalog)

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int | None] = ref("users.id", CASCADE, index=False)  # None: everybody's
    name: Mapped[Name]
    description: Mapped[Prose | None]
    system_prompt: Mapped[Prose | None]
    prompt_id: Mapped[int | None] = ref("prompts.id", SET_NULL)
    model_id: Mapped[int | None] = ref("models.id", SET_NULL)
    model_parameters: Mapped[Json] = json(dict)
    config: Mapped[Json] = json(dict)
    metadata_: Mapped[Json] = json(dict, "metadata")
    is_system: Mapped[bool] = flag(False)
    visible: Mapped[bool] = flag(True)

    prompt: Mapped[Prompt | None] = relationship(lazy="raise")
    model: Mapped[AIModel | None] = relationship(lazy="raise")
    tools: Mapped[list[Tool]] = relationship(secondary="agent_tools", lazy="raise", passive_deletes=True)


class UserAgent(Mutable, Entity):
    """An agent that a user may use."""

    __tablename__ = "user_agents"
    __table_args__ = (UniqueConstraint("user_id", "agent_id"),)
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    agent_id: Mapped[int] = ref("agents.id", CASCADE)
    role: Mapped[Name | None]

    agent: Mapped[Agent] = relationship(lazy="raise")


class UserTool(Mutable, Entity):
    """A tool that a user may use, and the credential it is used with."""

    __tablename__ = "user_tools"
    __table_args__ = (UniqueConstraint("user_id", "tool_id"),)
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    tool_id: Mapped[int] = ref("tools.id", CASCADE)
    credential: Mapped[Secret | None]

    tool: Mapped[Tool] = relationship(lazy="raise")


class AgentTool(Entity):
    """A tool that an agent has."""

    __tablename__ = "agent_tools"
    __table_args__ = (UniqueConstraint("agent_id", "tool_id"),)
    __owner__ = Owner.via("agent_id", "agents")

    id: Mapped[Key]
    agent_id: Mapped[int] = ref("agents.id", CASCADE, index=False)
    tool_id: Mapped[int] = ref("tools.id", CASCADE)
