"""Dropping tables that are not ours."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class drop_foreign(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Drop a table, and on PostgreSQL the views and foreign keys that depend on it."""

    inherit_cache = False

    def __init__(self, name: str) -> None:
        self.name = name


@compiles(drop_foreign, "postgresql")
def _drop_foreign_postgresql(element: drop_foreign, compiler: SQLCompiler, **_: Any) -> str:
    return f"DROP TABLE IF EXISTS {compiler.preparer.quote(element.name)} CASCADE"


@compiles(drop_foreign, "sqlite")
def _drop_foreign_sqlite(element: drop_foreign, compiler: SQLCompiler, **_: Any) -> str:
    return f"DROP TABLE IF EXISTS {compiler.preparer.quote(element.name)}"
