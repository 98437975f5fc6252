"""One after another, whatever the rows: a lock that is only a name."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class turn_taken(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Wait until no other transaction holds this name, and hold it to the end; SQLite's one writer need not.

    A statement that follows sees what those before have committed.

    Args: name: what is done one after another; a constant, never a caller's text.
    """

    inherit_cache = False

    def __init__(self, name: str) -> None:
        digest = hashlib.sha256(f"agentdb: {name}".encode()).digest()
        self.number = int.from_bytes(digest[:8], signed=True)


@compiles(turn_taken, "postgresql")
def _turn_taken_postgresql(element: turn_taken, _compiler: SQLCompiler, **_: Any) -> str:
    return f"SELECT pg_advisory_xact_lock({element.number})"


@compiles(turn_taken, "sqlite")
def _turn_taken_sqlite(_element: turn_taken, _compiler: SQLCompiler, **_: Any) -> str:
    return "SELECT 1 WHERE 0"
