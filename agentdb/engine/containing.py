"""Whether a JSON list of texts has all of some texts: the condition with two spellings, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.spelling import JsonType
from agentdb.errors import BadInput, brief


class _contains(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is."""
        return self


@compiles(_contains, "postgresql")
def _contains_postgresql(element: _contains, compiler: SQLCompiler, **kw: Any) -> str:
    has, wanted = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{has} @> {wanted}"


@compiles(_contains, "sqlite")
def _contains_sqlite(element: _contains, compiler: SQLCompiler, **kw: Any) -> str:
    has, wanted = (compiler.process(clause, **kw) for clause in element.clauses)
    # Texts of a list only: an object's or a lone text is none, and beside a null everything would be there, or not.
    texts = f"SELECT value FROM json_each({has}) WHERE type = 'text' AND typeof(key) = 'integer'"
    return f"NOT EXISTS (SELECT 1 FROM json_each({wanted}) AS wanted WHERE wanted.value NOT IN ({texts}))"


def contains(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column's list has every text of the list bound as ``name``."""
    return _contains(column, bindparam(name, type_=JsonType()))


def tags_given(tags: Iterable[Any], what: str = "tags") -> list[str]:
    """Return tags, each once, in their order.

    Raises: BadInput for what is not a list of texts of 1 to 255 characters.
    """
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise BadInput(f"{what}: a list of texts was expected, not {type(tags).__name__}")
    given = list(tags)
    for tag in given:
        if not isinstance(tag, str) or not 1 <= len(tag) <= 255:
            raise BadInput(f"{what}: a tag is a text of 1 to 255 characters, not {brief(tag)}")
    return list(dict.fromkeys(given))
