"""JSON arrays that grow in place: two writers both add, and neither reads first."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import JsonType


class appended(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """A JSON array with one more element behind the others; NULL when either is NULL."""

    type = JsonType()
    inherit_cache = True


@compiles(appended, "postgresql")
def _appended_postgresql(element: appended, compiler: SQLCompiler, **kw: Any) -> str:
    array, value = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({array} || jsonb_build_array({value}))"


@compiles(appended, "sqlite")
def _appended_sqlite(element: appended, compiler: SQLCompiler, **kw: Any) -> str:
    array, value = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"json_insert({array}, '$[#]', json({value}))"


class united(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """A JSON array of texts with those of another, each once, sorted by code point."""

    type = JsonType()
    inherit_cache = True


@compiles(united, "postgresql")
def _united_postgresql(element: united, compiler: SQLCompiler, **kw: Any) -> str:
    array, others = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        "(SELECT coalesce(jsonb_agg(text ORDER BY text COLLATE \"C\"), '[]'::jsonb) FROM "
        f"(SELECT DISTINCT jsonb_array_elements_text({array} || {others}) AS text) AS texts)"
    )


@compiles(united, "sqlite")
def _united_sqlite(element: united, compiler: SQLCompiler, **kw: Any) -> str:
    array, others = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        "(SELECT json_group_array(value) FROM "
        f"(SELECT value FROM json_each({array}) UNION SELECT value FROM json_each({others}) ORDER BY value))"
    )


class length_of(FunctionElement[int]):  # noqa: N801 (a SQL function)
    """How many elements a JSON array has."""

    type = WholeType()
    inherit_cache = True


@compiles(length_of, "postgresql")
def _length_of_postgresql(element: length_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"jsonb_array_length({compiler.process(element.clauses, **kw)})"


@compiles(length_of, "sqlite")
def _length_of_sqlite(element: length_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_length({compiler.process(element.clauses, **kw)})"
