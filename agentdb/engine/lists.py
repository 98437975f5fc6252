"""A list parameter as the rows of a query, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import FromClause
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeEngine

from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import ListType


class _elements(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    inherit_cache = True


@compiles(_elements, "postgresql")
def _elements_postgresql(element: _elements, compiler: SQLCompiler, **kw: Any) -> str:
    array = compiler.process(element.clauses, **kw)
    return f"(SELECT value, place FROM unnest({array}) WITH ORDINALITY AS t(value, place))"


@compiles(_elements, "sqlite")
def _elements_sqlite(element: _elements, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(SELECT value, key + 1 AS place FROM json_each({compiler.process(element.clauses, **kw)}))"


def listed(name: str, kind: TypeEngine[Any]) -> FromClause:
    """Return the list bound as ``name`` as rows of its ``value`` and its ``place``, from 1."""
    elements = _elements(bindparam(name, type_=ListType(kind)))
    return elements.table_valued(column("value", kind), column("place", WholeType()), name=f"listed_{name}")
