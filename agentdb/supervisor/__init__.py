"""Who may act, what they may do, and the proof.

One table holds every principal: people, agents and services; a role gives policies, a permission is given to one user.
Of what a caller presents (session, registration token, runtime key, API key) only a digest is kept; what the platform
itself presents to a provider is kept encrypted. The audit log is append-only and outlives the users it names.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.repository import Aggregate
from agentdb.supervisor.users import Users


class SupervisorRepositories(Aggregate):
    """The repositories of who may act."""

    @cached_property
    def users(self) -> Users:
        """Every principal: people, agents and services."""
        return Users(self.connection, most=self.most)
