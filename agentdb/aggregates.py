"""The aggregates over one connection: the first step of every call's path, ``unit.hub.runs.start``."""

from __future__ import annotations

from functools import cached_property

from agentdb.catalog import CatalogRepositories
from agentdb.conversation import ConversationRepositories
from agentdb.engine.connection import Connection
from agentdb.hub import HubRepositories
from agentdb.reports import Reports
from agentdb.supervisor import SupervisorRepositories


class Aggregates:
    """Each aggregate is made when it is first asked for: a unit that needs one does not pay for all.

    Args:
        connection: what their repositories run on.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self._over = connection
        self._most = most

    @cached_property
    def supervisor(self) -> SupervisorRepositories:
        """Who may act."""
        return SupervisorRepositories(self._over, most=self._most)

    @cached_property
    def hub(self) -> HubRepositories:
        """What the machines of one installation share."""
        return HubRepositories(self._over, most=self._most)

    @cached_property
    def catalog(self) -> CatalogRepositories:
        """What an agent can be made of."""
        return CatalogRepositories(self._over, most=self._most)

    @cached_property
    def conversation(self) -> ConversationRepositories:
        """What was said."""
        return ConversationRepositories(self._over, most=self._most)

    @cached_property
    def reports(self) -> Reports:
        """Reads that join aggregates."""
        return Reports(self._over, most=self._most)
