"""What an agent can be made of: providers, models, prompts, tools, and the agents themselves.

Prices are dollars per million tokens. A prompt's versions stand side by side under one name. An agent without a user is
everybody's.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.catalog.agents import Agents
from agentdb.catalog.language_models import Models
from agentdb.repository import Aggregate


class CatalogRepositories(Aggregate):
    """The repositories of what an agent can be made of."""

    @cached_property
    def models(self) -> Models:
        """The models, and what they cost."""
        return Models(self.connection, most=self.most)

    @cached_property
    def agents(self) -> Agents:
        """The definitions of agents."""
        return Agents(self.connection, most=self.most)
