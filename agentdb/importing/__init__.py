"""Importing: conversations that agents had elsewhere, price lists, and whole installations of NAISYS, from files.

An import can be run again at any time: what is there already stays as it is.
"""

from __future__ import annotations

from agentdb.importing.chat import ChatReport, Problem, import_chat
from agentdb.importing.naisys import NaisysReport, import_naisys
from agentdb.importing.prices import import_prices

__all__ = ["ChatReport", "NaisysReport", "Problem", "import_chat", "import_naisys", "import_prices"]
