"""Transfers: a whole database moved into another, of the same kind or the other."""

from agentdb.operating.transferring.transfers import Transferred, transfer
from agentdb.operating.transferring.unindexed import Unindexed

__all__ = ["Transferred", "Unindexed", "transfer"]
