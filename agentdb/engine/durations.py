"""How long something took: the SQL function with two spellings, side by side."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.quantities import WholeType


class milliseconds_between(FunctionElement[int]):  # noqa: N801 (a SQL function)
    """The milliseconds from one moment to another; null when either is.

    SQLite calculates with moments to the millisecond only.
    """

    type = WholeType()
    inherit_cache = True


@compiles(milliseconds_between, "postgresql")
def _milliseconds_between_postgresql(element: milliseconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(moment, **kw) for moment in element.clauses)
    return f"CAST(round(extract(epoch FROM {end} - {start}) * 1000) AS bigint)"


@compiles(milliseconds_between, "sqlite")
def _milliseconds_between_sqlite(element: milliseconds_between, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(moment, **kw) for moment in element.clauses)
    return f"CAST(round((julianday({end}) - julianday({start})) * 86400000) AS INTEGER)"
