"""Flags within a JSON object: what something can do, by name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.spelling import ListType, TextType


class _all_true(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is: SQLAlchemy would write ``... = 1`` for SQLite."""
        return self


@compiles(_all_true, "postgresql")
def _all_true_postgresql(element: _all_true, compiler: SQLCompiler, **kw: Any) -> str:
    column, names = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"NOT EXISTS (SELECT 1 FROM unnest({names}) AS wanted(name) "
        f"WHERE {column} -> wanted.name IS DISTINCT FROM 'true'::jsonb)"
    )


@compiles(_all_true, "sqlite")
def _all_true_sqlite(element: _all_true, compiler: SQLCompiler, **kw: Any) -> str:
    column, names = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"NOT EXISTS (SELECT 1 FROM json_each({names}) AS wanted WHERE NOT EXISTS "
        f"(SELECT 1 FROM json_each({column}) AS held WHERE held.key = wanted.value AND held.type = 'true'))"
    )


def all_true(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that every name of the list bound as ``name`` is a member of a JSON object, and true.

    Whatever is no object has no members.
    """
    return _all_true(column, bindparam(name, type_=ListType(TextType())))
