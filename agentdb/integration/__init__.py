"""What users connect, and what happened there.

Tokens are kept encrypted. Events never change; they go with their connection or by retention, and a connection that is
not connected takes none but those of connecting, disconnecting and failing.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.engine.connection import Connection
from agentdb.integration.connections import Connections
from agentdb.integration.events import Events
from agentdb.repository import MOST, Aggregate


class IntegrationRepositories(Aggregate):
    """The repositories of what users connect.

    Args: in_unit: whether ``connection`` is a transaction.
    """

    def __init__(self, connection: Connection, *, most: int = MOST, in_unit: bool = False) -> None:
        super().__init__(connection, most=most)
        self._in_unit = in_unit

    @cached_property
    def connections(self) -> Connections:
        """Users' accounts elsewhere."""
        return Connections(self.connection, most=self.most, in_unit=self._in_unit)

    @cached_property
    def events(self) -> Events:
        """What happened on them."""
        return Events(self.connection, most=self.most)
