"""Reports: reads that join aggregates.

They only read, and each is one statement; those that should agree with each other are asked of one read unit.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.reports.activity import Activity
from agentdb.reports.spending import SpendingReports
from agentdb.repository import Aggregate


class Reports(Aggregate):
    """The reports over one connection."""

    @cached_property
    def activity(self) -> Activity:
        """What there is, and what is used."""
        return Activity(self.connection, most=self.most)

    @cached_property
    def spending(self) -> SpendingReports:
        """What was spent: by user, model and day."""
        return SpendingReports(self.connection, most=self.most)
