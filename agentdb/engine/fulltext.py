"""Full-text search: the words of texts, found alike on both databases.

A word is a run of letters, marks and digits; capitals do not count, accents do; there are no stems and no stop words.
What is searched for is words and nothing else: no character of it is syntax. SQLite keeps the words of a table in an
FTS5 table beside it, in step by triggers; PostgreSQL in a GIN index of a function of ours (``agentdb_words``), which
cuts texts up as SQLite does. Of a text the first 200,000 characters count, and of words those of up to 255.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from sqlalchemy import CTE, BigInteger, Boolean, Column, Table, bindparam, cast, column, func, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement, FromClause
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.fulltext_characters import parting, small_letters
from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import ListType, Processor, Word
from agentdb.errors import BadInput

LONGEST_WORD: Final = 255
MOST_WORDS: Final = 64  # of one search


@cache
def _words() -> re.Pattern[str]:
    between = "".join(f"\\U{first:08X}-\\U{last:08X}" for first, last in parting())
    return re.compile(f"[^{between}\\0\\uD800-\\uDFFF]+")


@cache
def _letters() -> dict[int, int]:
    return small_letters()


def words_of(text: Any) -> tuple[str, ...]:
    """Return the words of a text as both databases know them, each once, in their order.

    Raises: BadInput for what is not a text.
    """
    if not isinstance(text, str):
        raise BadInput(f"a search is for a text, not {type(text).__name__}")
    return tuple(dict.fromkeys(map(_small, dict.fromkeys(_words().findall(text)))))


def _small(word: str) -> str:
    return word.lower() if word.isascii() else word.translate(_letters())


def words_asked(text: Any) -> tuple[str, ...] | None:
    """Return the words to search for; None when nothing can have all of them: there is none, or one is too long.

    Raises: BadInput for what is not a text, or has more than 64 words.
    """
    words = words_of(text)
    if len(words) > MOST_WORDS:
        raise BadInput(f"a search is for at most {MOST_WORDS} different words, not {len(words)}")
    return words if words and all(len(word) <= LONGEST_WORD for word in words) else None


def any_words_asked(text: Any) -> tuple[str, ...]:
    """Return the words of which any is searched for: the first 64 different ones.

    Raises: BadInput for what is not a text.
    """
    return tuple(word for word in words_of(text) if len(word) <= LONGEST_WORD)[:MOST_WORDS]


class WordsType(Word):
    """A parameter: the words that a text must have, all of them; a text alone is one word."""

    def binder(self, dialect: str) -> Processor:
        """Spell a query: quoted, a word is never an operator."""
        quote, between = ('"', " ") if dialect == "sqlite" else ("'", " & ")
        return lambda words: between.join(f"{quote}{word}{quote}" for word in _each(words))


class AnyWordsType(Word):
    """A parameter: the words of which a text must have any."""

    def binder(self, dialect: str) -> Processor:
        """Spell a query."""
        quote, between = ('"', " OR ") if dialect == "sqlite" else ("'", " | ")
        return lambda words: between.join(f"{quote}{word}{quote}" for word in _each(words))


def _each(words: Any) -> Iterable[str]:
    return (words,) if isinstance(words, str) else words


class _words_in(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """The words of a text; of an index."""

    inherit_cache = True


@compiles(_words_in)
def _words_in_anywhere(element: _words_in, compiler: SQLCompiler, **kw: Any) -> str:
    return f"agentdb_words({compiler.process(element.clauses, **kw)})"


class _has_words(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether the words of a row, known by its key, match a query."""

    type = Boolean()
    inherit_cache = False

    def __init__(self, key: Column[Any], text: ColumnElement[Any], query: ColumnElement[Any]) -> None:
        self.index = f"{key.table.name}_words"
        super().__init__(key, _words_in(text), query)

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is: SQLite uses no index for ``... = 1``."""
        return self


@compiles(_has_words, "postgresql")
def _has_words_postgresql(element: _has_words, compiler: SQLCompiler, **kw: Any) -> str:
    _, words, query = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{words} @@ CAST({query} AS tsquery)"


@compiles(_has_words, "sqlite")
def _has_words_sqlite(element: _has_words, compiler: SQLCompiler, **kw: Any) -> str:
    key, _, query = element.clauses
    found = f"SELECT rowid FROM {element.index} WHERE {element.index} MATCH {compiler.process(query, **kw)}"
    return f"{compiler.process(key, **kw)} IN ({found})"


def has_words(table: Table, name: str = "words") -> ColumnElement[bool]:
    """Return the condition that a row of a searchable table has all the words bound as ``name``."""
    return _has_words(table.c.id, _text_of(table, table.name), bindparam(name, type_=WordsType()))


def _text_of(table: Table, name: str) -> ColumnElement[str]:
    """Return the text in which a row of a searchable table is searched, as PostgreSQL's index has it."""
    return literal_column(" || ' ' || ".join(f"{name}.{searched}" for searched in table.info["searchable"]))


class _hits(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    inherit_cache = False

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        super().__init__(bindparam(name, type_=ListType(WordsType())), _words_in(_text_of(table, "searched")))


@compiles(_hits, "postgresql")
def _hits_postgresql(element: _hits, compiler: SQLCompiler, **kw: Any) -> str:
    queries, words = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"(SELECT asked.place, searched.id FROM unnest({queries}) WITH ORDINALITY AS asked(query, place) "
        f"JOIN {element.table.name} AS searched ON {words} @@ CAST(asked.query AS tsquery))"
    )


@compiles(_hits, "sqlite")
def _hits_sqlite(element: _hits, compiler: SQLCompiler, **kw: Any) -> str:
    queries, _ = element.clauses
    index = f"{element.table.name}_words"
    return (
        f"(SELECT asked.key + 1 AS place, {index}.rowid AS id "
        f"FROM json_each({compiler.process(queries, **kw)}) AS asked CROSS JOIN {index} "
        f"WHERE {index} MATCH asked.value)"
    )


def hits(table: Table, name: str = "words") -> FromClause:
    """Return which rows of a searchable table have which of the words bound as ``name``: rows of ``place``, ``id``."""
    return _hits(table, name).table_valued(column("place", WholeType()), column("id", WholeType()), name="hits")


def weighed(found: FromClause) -> CTE:
    """Return what rows of ``place`` and ``id`` weigh, by ``id``: each word the more, the fewer rows have it.

    A whole number, so that both databases agree on it.
    """
    share = literal_column("1000000", BigInteger) // func.count().over(partition_by=found.c.place)
    shares = select(found.c.id, share.label("weight")).subquery("shares")
    weight = cast(func.sum(shares.c.weight), BigInteger).label("weight")
    return select(shares.c.id, weight).group_by(shares.c.id).cte("weighed")
