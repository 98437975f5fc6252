"""Importing: conversations that agents had elsewhere, and price lists, from files.

An import can be run again at any time: what is there already stays as it is.
"""

from __future__ import annotations

from agentdb.importing.chat import ChatReport, Problem, import_chat
from agentdb.importing.prices import import_prices

__all__ = ["ChatReport", "Problem", "import_chat", "import_prices"]
