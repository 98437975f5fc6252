"""What is to be done, by whom, and how it went: workflows, their executions, and agents' sessions.

An execution is claimed by one worker under a lease, and another takes it over when the lease has ended. What a node did
is one log row for each attempt.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.engine.connection import Connection
from agentdb.execution.agent_sessions import AgentSessions
from agentdb.execution.executions import Executions
from agentdb.execution.node_logs import NodeLogs
from agentdb.execution.workflows import Workflows
from agentdb.repository import MOST, Aggregate


class ExecutionRepositories(Aggregate):
    """The repositories of what is to be done.

    Args: in_unit: whether ``connection`` is a transaction.
    """

    def __init__(self, connection: Connection, *, most: int = MOST, in_unit: bool = False) -> None:
        super().__init__(connection, most=most)
        self._in_unit = in_unit

    @cached_property
    def workflows(self) -> Workflows:
        """Graphs of steps."""
        return Workflows(self.connection, most=self.most)

    @cached_property
    def executions(self) -> Executions:
        """Workflows to be run, running, or run."""
        return Executions(self.connection, most=self.most)

    @cached_property
    def node_logs(self) -> NodeLogs:
        """What their nodes did."""
        return NodeLogs(self.connection, most=self.most, in_unit=self._in_unit)

    @cached_property
    def agent_sessions(self) -> AgentSessions:
        """Agents at work for users."""
        return AgentSessions(self.connection, most=self.most)
