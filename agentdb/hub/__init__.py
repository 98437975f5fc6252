"""What the machines of one installation share: hosts, runs and their logs, spending, mail and settings.

A run's number is the key of its row. ``costs`` is the one ledger of spending, whoever charged: its rows never change, a
correction is another row, and retention folds old ones into days; every sum over spending reads both. A spend limit is
taken by the UPDATE whose condition it is, never by reading first.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.hub.costs import Costs
from agentdb.hub.hosts import Hosts
from agentdb.hub.logs import Logs
from agentdb.hub.runs import Runs
from agentdb.repository import Aggregate


class HubRepositories(Aggregate):
    """The repositories of what the machines share."""

    @cached_property
    def hosts(self) -> Hosts:
        """The machines."""
        return Hosts(self.connection, most=self.most)

    @cached_property
    def runs(self) -> Runs:
        """What runs on them."""
        return Runs(self.connection, most=self.most)

    @cached_property
    def logs(self) -> Logs:
        """What runs said and saw."""
        return Logs(self.connection, most=self.most)

    @cached_property
    def costs(self) -> Costs:
        """What it cost."""
        return Costs(self.connection, most=self.most)
