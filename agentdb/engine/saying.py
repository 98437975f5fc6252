"""What is said in messages, and its words where no index keeps them: the functions with two spellings, side by side.

Each text is cut up when it is searched. An index of every message would slow appending down by 36 % (PostgreSQL, 32
writers) to 45 % (SQLite, one writer; messages of 570 characters), and a search of one user's messages reads no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Boolean, Column, FromClause, bindparam, column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.fulltext import AnyWordsType, WordsType, weighed
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import ListType, TextType

M = TypeVar("M")


class said(FunctionElement[str]):  # noqa: N801 (a SQL function)
    """The text of a message's content: itself, or that of its blocks of text; both databases have the function."""

    type = TextType()
    inherit_cache = True


@compiles(said)
def _said_anywhere(element: said, compiler: SQLCompiler, **kw: Any) -> str:
    return f"agentdb_said({compiler.process(element.clauses, **kw)})"


class _says(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is."""
        return self


@compiles(_says, "postgresql")
def _says_postgresql(element: _says, compiler: SQLCompiler, **kw: Any) -> str:
    text, query = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"agentdb_words({text}) @@ CAST({query} AS tsquery)"


@compiles(_says, "sqlite")
def _says_sqlite(element: _says, compiler: SQLCompiler, **kw: Any) -> str:
    return f"agentdb_says({compiler.process(element.clauses, **kw)})"


def says_all(content: Column[Any], name: str = "words") -> ColumnElement[bool]:
    """Return the condition that a content says all the words bound as ``name``."""
    return _says(said(content), bindparam(name, type_=WordsType()))


def says_any(content: Column[Any], name: str = "any_words") -> ColumnElement[bool]:
    """Return the condition that a content says any of the words bound as ``name``."""
    return _says(said(content), bindparam(name, type_=AnyWordsType()))


class _places_said(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    inherit_cache = True


@compiles(_places_said, "postgresql")
def _places_said_postgresql(element: _places_said, compiler: SQLCompiler, **kw: Any) -> str:
    text, queries = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"LATERAL (SELECT asked.place AS value FROM agentdb_words({text}) AS kept(words), "
        f"unnest({queries}) WITH ORDINALITY AS asked(query, place) WHERE kept.words @@ CAST(asked.query AS tsquery))"
    )


@compiles(_places_said, "sqlite")
def _places_said_sqlite(element: _places_said, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each(agentdb_places_said({compiler.process(element.clauses, **kw)}))"


def places_said(content: Column[Any], name: str = "words") -> FromClause:
    """Return which of the words bound as ``name`` a content says: rows of ``value``, the word's place."""
    found = _places_said(said(content), bindparam(name, type_=ListType(WordsType())))
    return found.table_valued(column("value", WholeType()), name="places")


def saying_plan(
    model: type[M], rows: FromClause, conditions: Sequence[ColumnElement[bool]], *, any_word: bool
) -> Plan[M]:
    """Return the plan that finds what is said in a model's ``content``.

    With all of ``words`` the newest come first; with any of them (bound as ``any_words`` too), those with more and
    rarer ones.

    Args:
        model: what comes back.
        rows: its table, joined with whatever the conditions need.
        conditions: whose rows are searched.
        any_word: whether any of the words will do.
    """
    table: Any = model.__table__  # type: ignore[attr-defined]
    statement: Any = select(model)
    if not any_word:
        statement = statement.select_from(rows).where(*conditions, says_all(table.c.content))
        order = [table.c.id.desc()]
    else:
        places = places_said(table.c.content)
        # The condition is one that an index of words can answer, where somebody has made one.
        found = select(places.c.value.label("place"), table.c.id).select_from(rows, places)
        weights = weighed(found.where(*conditions, says_any(table.c.content)).subquery("found"))
        statement = statement.join(weights, weights.c.id == table.c.id)
        order = [weights.c.weight.desc(), table.c.id.desc()]
    limit = bindparam("limit", type_=WholeType())
    return Plan(statement.order_by(*order).limit(limit), name=f"{table.name}.search", rows=model)
