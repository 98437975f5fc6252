"""Ids that rows brought with them, and those the database gives: the next one comes after both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ClauseElement, Executable, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class ids_go_on(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Let the ids that a table gives go on after the largest that is there; SQLite's do so by themselves.

    Never backwards: an id that was given does not come again. Nobody else inserts meanwhile: see `writers_wait`.

    Args: table: whose key is ``id``.
    """

    inherit_cache = False

    def __init__(self, table: Table) -> None:
        self.table = table


@compiles(ids_go_on, "postgresql")
def _ids_go_on_postgresql(element: ids_go_on, compiler: SQLCompiler, **_: Any) -> str:
    name = compiler.preparer.format_table(element.table)
    sequence = f"pg_get_serial_sequence('{name}', 'id')"
    return (
        f"SELECT setval({sequence}, largest) FROM (SELECT max(id) AS largest FROM {name}) AS brought "
        f"WHERE largest > coalesce(pg_sequence_last_value({sequence}::regclass), 0)"
    )


@compiles(ids_go_on, "sqlite")
def _ids_go_on_sqlite(_element: ids_go_on, _compiler: SQLCompiler, **_: Any) -> str:
    return "SELECT 1 WHERE 0"
