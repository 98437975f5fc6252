"""Keeping others away from a table until the end of a transaction: writers, whoever locks rows, or who comes to add."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ClauseElement, Executable, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class writers_wait(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Wait until all who have written to a table are done, and let nobody begin; SQLite's one writer need not.

    What is read next is complete: no row of it is still to be committed.
    """

    inherit_cache = False
    mode = "SHARE ROW EXCLUSIVE"

    def __init__(self, table: Table) -> None:
        self.table = table


class lockers_wait(writers_wait):  # noqa: N801 (a SQL statement)
    """Wait until all who have written to a table, or locked rows of it, are done; and let nobody begin.

    What they have read of other tables under that lock is then settled too.
    """

    inherit_cache = False
    mode = "EXCLUSIVE"


class writing_begins(writers_wait):  # noqa: N801 (a SQL statement)
    """Come as a writer of a table before anything is read: whoever keeps writers away is waited for here.

    What is read next is what they have left.
    """

    inherit_cache = False
    mode = "ROW EXCLUSIVE"


@compiles(writers_wait, "postgresql")
def _writers_wait_postgresql(element: writers_wait, compiler: SQLCompiler, **_: Any) -> str:
    return f"LOCK TABLE {compiler.preparer.format_table(element.table)} IN {element.mode} MODE"


@compiles(writers_wait, "sqlite")
def _writers_wait_sqlite(_element: writers_wait, _compiler: SQLCompiler, **_: Any) -> str:
    return "SELECT 1 WHERE 0"
