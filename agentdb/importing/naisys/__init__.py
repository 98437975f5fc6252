"""NAISYS: a hub's file and its supervisor's, as users, runs, logs, costs, mail and all that belongs to them."""

from __future__ import annotations

from agentdb.importing.naisys.importer import import_naisys
from agentdb.importing.naisys.report import NaisysReport, RowProblem, TableCount

__all__ = ["NaisysReport", "RowProblem", "TableCount", "import_naisys"]
