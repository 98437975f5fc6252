"""The door by which retention removes rows that nobody else may: opened and closed within the deleting transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ClauseElement, Executable, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from agentdb.engine.schema.ddl import retention


class open_to_retention(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Let this transaction remove rows of a table that is append-only; nothing where anybody may."""

    inherit_cache = False

    def __init__(self, table: Table) -> None:
        self.table = table


class close_to_retention(open_to_retention):  # noqa: N801 (a SQL statement)
    """Let nobody remove them, as before."""

    inherit_cache = False


_NOTHING = "SELECT 1 WHERE 1 = 0"


@compiles(open_to_retention)
def _open(element: open_to_retention, compiler: SQLCompiler, **_: Any) -> str:
    opening, _closing = retention(element.table, compiler.dialect.name)
    return opening[0] if opening else _NOTHING


@compiles(close_to_retention)
def _close(element: close_to_retention, compiler: SQLCompiler, **_: Any) -> str:
    _opening, closing = retention(element.table, compiler.dialect.name)
    return closing[0] if closing else _NOTHING
