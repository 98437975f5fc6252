"""The SQL functions with two spellings, side by side."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Boolean, Column, Date, Integer, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from agentdb.engine.quantities import MomentType, WholeType
from agentdb.engine.spelling import JsonType, ListType, TextType


class moment_now(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """The server's own time, for writers other than this library."""

    inherit_cache = True


@compiles(moment_now, "postgresql")
def _moment_now_postgresql(_element: moment_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "now()"


@compiles(moment_now, "sqlite")
def _moment_now_sqlite(_element: moment_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "(strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'))"


class writing_transaction(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """The number of the transaction that writes.

    On SQLite, where writers follow one another: 0, and in a table whose rows change the number of the change (see
    `number_changes`).
    """

    type = WholeType()
    inherit_cache = True


@compiles(writing_transaction, "postgresql")
def _writing_transaction_postgresql(_element: writing_transaction, _compiler: SQLCompiler, **_: Any) -> str:
    return "(pg_current_xact_id()::text::bigint)"


@compiles(writing_transaction, "sqlite")
def _writing_transaction_sqlite(_element: writing_transaction, compiler: SQLCompiler, **_: Any) -> str:
    table = getattr(compiler.statement, "table", None)  # none where it is a column's default
    if table is None or "numbered" not in table.info:
        return "0"
    return f"({next_change(table.name)})"


def next_change(table: str) -> str:
    """Return SQLite's query for a number above every one a table has given: rows that are gone count too."""
    return (
        f"SELECT 1 + max(coalesce((SELECT max(tx) FROM {table}), 0), "
        f"coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}.tx'), 0))"
    )


class random_mark(FunctionElement[str]):  # noqa: N801 (a SQL function)
    """A text of 32 hexadecimal digits that is given once."""

    inherit_cache = True


@compiles(random_mark, "postgresql")
def _random_mark_postgresql(_element: random_mark, _compiler: SQLCompiler, **_: Any) -> str:
    return "replace(gen_random_uuid()::text, '-', '')"


@compiles(random_mark, "sqlite")
def _random_mark_sqlite(_element: random_mark, _compiler: SQLCompiler, **_: Any) -> str:
    return "(lower(hex(randomblob(16))))"


class flag_default(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """A literal true or false."""

    inherit_cache = False

    def __init__(self, value: bool) -> None:
        super().__init__()
        self.value = value


@compiles(flag_default, "postgresql")
def _flag_default_postgresql(element: flag_default, _compiler: SQLCompiler, **_: Any) -> str:
    return "true" if element.value else "false"


@compiles(flag_default, "sqlite")
def _flag_default_sqlite(element: flag_default, _compiler: SQLCompiler, **_: Any) -> str:
    return "1" if element.value else "0"


class merge_patch(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """A JSON value with a patch merged into it: members of null go, objects merge, anything else replaces.

    NULL when either is NULL.

    Source: RFC 7396. PostgreSQL's function comes with the schema.
    """

    type = JsonType()
    inherit_cache = True


@compiles(merge_patch, "postgresql")
def _merge_patch_postgresql(element: merge_patch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"agentdb_merge_patch({compiler.process(element.clauses, **kw)})"


@compiles(merge_patch, "sqlite")
def _merge_patch_sqlite(element: merge_patch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_patch({compiler.process(element.clauses, **kw)})"


class one_of(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether a column's value is among those of a list: one plan for a list of any length."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is: SQLAlchemy would write ``... IN (...) = 1`` for SQLite, which then uses no index."""
        return self


@compiles(one_of, "postgresql")
def _one_of_postgresql(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, given = element.clauses
    return f"{compiler.process(column, **kw)} = ANY({compiler.process(given, **kw)})"


@compiles(one_of, "sqlite")
def _one_of_sqlite(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, given = element.clauses
    return f"{compiler.process(column, **kw)} IN (SELECT value FROM json_each({compiler.process(given, **kw)}))"


def among(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column's value is in the list bound as ``name``."""
    # A key: SQLite would compare what is not a number, and PostgreSQL refuse it.
    kind = WholeType() if isinstance(column.type, Integer) else column.type
    return one_of(column, bindparam(name, type_=ListType(kind)))


class greater_of(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """The greater of two values, neither null: a pointer that only moves forward."""

    type = WholeType()
    inherit_cache = True


@compiles(greater_of, "postgresql")
def _greater_of_postgresql(element: greater_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(greater_of, "sqlite")
def _greater_of_sqlite(element: greater_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


class later_of(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """The later of two moments, the first of which may be null: a moment that only moves forward."""

    type = MomentType()
    inherit_cache = True


@compiles(later_of, "postgresql")
def _later_of_postgresql(element: later_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(later_of, "sqlite")
def _later_of_sqlite(element: later_of, compiler: SQLCompiler, **kw: Any) -> str:
    known, given = (compiler.process(moment, **kw) for moment in element.clauses)
    return f"max(coalesce({known}, ''), {given})"


class utc_day(FunctionElement[date]):  # noqa: N801 (a SQL function)
    """The UTC day of a moment."""

    type = Date()
    inherit_cache = True


@compiles(utc_day, "postgresql")
def _utc_day_postgresql(element: utc_day, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AT TIME ZONE 'UTC' AS date)"


@compiles(utc_day, "sqlite")
def _utc_day_sqlite(element: utc_day, compiler: SQLCompiler, **kw: Any) -> str:
    return f"substr({compiler.process(element.clauses, **kw)}, 1, 10)"


class elements_under(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """The elements of the array under a key of a JSON object, as rows; none where there is no array.

    Args:
        column: the object.
        key: plain letters and underscores, never a caller's text.
    """

    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], key: str) -> None:
        super().__init__(column)
        self.key = key


@compiles(elements_under, "postgresql")
def _elements_under_postgresql(element: elements_under, compiler: SQLCompiler, **kw: Any) -> str:
    array = f"{compiler.process(element.clauses, **kw)} -> '{element.key}'"
    return f"jsonb_array_elements(CASE WHEN jsonb_typeof({array}) = 'array' THEN {array} END)"


@compiles(elements_under, "sqlite")
def _elements_under_sqlite(element: elements_under, compiler: SQLCompiler, **kw: Any) -> str:
    value, path = compiler.process(element.clauses, **kw), f"'$.{element.key}'"
    return f"json_each(CASE WHEN json_type({value}, {path}) = 'array' THEN {value} END, {path})"


class text_at(FunctionElement[str]):  # noqa: N801 (a SQL function)
    """The text at a path of a JSON value that `elements_under` gave, sorted by code point; null where there is none.

    Args:
        value: the value.
        path: keys of plain letters and underscores, never a caller's text.
    """

    type = TextType()
    inherit_cache = False

    def __init__(self, value: ColumnElement[Any], *path: str) -> None:
        super().__init__(value)
        self.path = path


@compiles(text_at, "postgresql")
def _text_at_postgresql(element: text_at, compiler: SQLCompiler, **kw: Any) -> str:
    value = f"{compiler.process(element.clauses, **kw)} #> '{{{','.join(element.path)}}}'"
    return f"(CASE WHEN jsonb_typeof({value}) = 'string' THEN {value} #>> '{{}}' END COLLATE \"C\")"


@compiles(text_at, "sqlite")
def _text_at_sqlite(element: text_at, compiler: SQLCompiler, **kw: Any) -> str:
    value, path = compiler.process(element.clauses, **kw), f"'$.{'.'.join(element.path)}'"
    # A text among the elements comes without its quotes, and is not JSON.
    return (
        f"CASE WHEN json_valid({value}) AND json_type({value}, {path}) = 'text' THEN json_extract({value}, {path}) END"
    )
