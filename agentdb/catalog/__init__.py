"""What an agent can be made of: providers, models, prompts, tools, and the agents themselves.

Prices are dollars per million tokens. A prompt's versions stand side by side under one name, and stay as they are once
an agent has them. An agent without a user is everybody's. Providers' keys and users' credentials for tools are stored
sealed; only ``reveal`` returns one.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.catalog.agents import Agents
from agentdb.catalog.assignments import UserAgents, UserTools
from agentdb.catalog.language_models import Models
from agentdb.catalog.prompts import Prompts
from agentdb.catalog.providers import Providers
from agentdb.catalog.tools import Tools
from agentdb.repository import Aggregate


class CatalogRepositories(Aggregate):
    """The repositories of what an agent can be made of."""

    @cached_property
    def providers(self) -> Providers:
        """Who serves models."""
        return Providers(self.connection, most=self.most)

    @cached_property
    def models(self) -> Models:
        """The models, and what they cost."""
        return Models(self.connection, most=self.most)

    @cached_property
    def prompts(self) -> Prompts:
        """What agents are told, in versions."""
        return Prompts(self.connection, most=self.most)

    @cached_property
    def tools(self) -> Tools:
        """What agents can call."""
        return Tools(self.connection, most=self.most)

    @cached_property
    def agents(self) -> Agents:
        """The definitions of agents, with their tools."""
        return Agents(self.connection, most=self.most)

    @cached_property
    def user_agents(self) -> UserAgents:
        """Which agents are given to which users."""
        return UserAgents(self.connection, most=self.most)

    @cached_property
    def user_tools(self) -> UserTools:
        """Which tools are given to which users, and their credentials."""
        return UserTools(self.connection, most=self.most)
