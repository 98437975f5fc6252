"""Transfers: a whole database moved into another, of the same kind or the other."""

from agentdb.operating.transferring.transfers import Transferred, transfer

__all__ = ["Transferred", "transfer"]
