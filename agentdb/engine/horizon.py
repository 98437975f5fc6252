"""How far a follower may read: the SQL functions with two spellings, side by side.

PostgreSQL numbers transactions when they begin to write, and they commit in any order. A row is *settled* when no
transaction with a number as low as its own is under way: whoever reads settled rows only, by their numbers, misses
none. On SQLite writers follow one another, and every row that can be read is settled.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.quantities import WholeType
from agentdb.engine.spelling import TextType


class settled(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether every transaction up to this number has ended.

    A transaction that stays open holds it back, whatever it writes to; one that only reads does not.
    """

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is: SQLAlchemy would write ``... = 1`` for SQLite."""
        return self


@compiles(settled, "postgresql")
def _settled_postgresql(element: settled, compiler: SQLCompiler, **kw: Any) -> str:
    number = compiler.process(element.clauses, **kw)
    return f"({number} < pg_snapshot_xmin(pg_current_snapshot())::text::bigint)"


@compiles(settled, "sqlite")
def _settled_sqlite(_element: settled, _compiler: SQLCompiler, **_: Any) -> str:
    return "true"


class still_to_come(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether no transaction has been given this number yet: it is another server's."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is, likewise."""
        return self


@compiles(still_to_come, "postgresql")
def _still_to_come_postgresql(element: still_to_come, compiler: SQLCompiler, **kw: Any) -> str:
    number = compiler.process(element.clauses, **kw)
    return f"({number} >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"


@compiles(still_to_come, "sqlite")
def _still_to_come_sqlite(element: still_to_come, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)} IS NULL"  # never


class arrived_after(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether the transaction of a number had not committed yet when `snapshot` was taken.

    Takes the number, and what `snapshot` gave.
    """

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is, likewise."""
        return self


@compiles(arrived_after, "postgresql")
def _arrived_after_postgresql(element: arrived_after, compiler: SQLCompiler, **kw: Any) -> str:
    number, taken = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"NOT pg_visible_in_snapshot({number}::text::xid8, {taken}::text::pg_snapshot)"


@compiles(arrived_after, "sqlite")
def _arrived_after_sqlite(element: arrived_after, compiler: SQLCompiler, **kw: Any) -> str:
    taken = compiler.process(list(element.clauses)[1], **kw)
    return f"{taken} IS NOT NULL"  # a snapshot of the other database: whatever has a later place came after


class lifted(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether a row's number, a column, may be above the one of the transaction that wrote it."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is, likewise."""
        return self


@compiles(lifted, "postgresql")
def _lifted_postgresql(element: lifted, compiler: SQLCompiler, **kw: Any) -> str:
    number = compiler.process(element.clauses, **kw)
    # The row knows the lower half of its writer's number; of a savepoint's, which is another.
    return f"({number.rpartition('.')[0]}.xmin::text::bigint <> {number} % 4294967296)"


@compiles(lifted, "sqlite")
def _lifted_sqlite(_element: lifted, _compiler: SQLCompiler, **_: Any) -> str:
    return "false"


class behind(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether a row's number and key are behind a place: takes both columns, and the number and key of the place."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is, likewise."""
        return self


@compiles(behind, "postgresql")
def _behind_postgresql(element: behind, compiler: SQLCompiler, **kw: Any) -> str:
    tx, key, of_tx, of_key = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({tx}, {key}) > ({of_tx}, {of_key})"


@compiles(behind, "sqlite")
def _behind_sqlite(element: behind, compiler: SQLCompiler, **kw: Any) -> str:
    tx, key, of_tx, of_key = (compiler.process(clause, **kw) for clause in element.clauses)
    column: Any = next(iter(element.clauses))
    if "numbered" in column.table.info:
        return f"({tx}, {key}) > ({of_tx}, {of_key})"
    # Every number is 0, and the place before all rows has -1. Pairs are looked up by the number alone: by all rows.
    return f"{tx} = max({of_tx}, 0) AND {key} > {of_key}"


class snapshot(FunctionElement[str]):  # noqa: N801 (a SQL function)
    """Which transactions are seen by this statement, as text; null where all that have ended are, and no others."""

    type = TextType()
    inherit_cache = True


@compiles(snapshot, "postgresql")
def _snapshot_postgresql(_element: snapshot, _compiler: SQLCompiler, **_: Any) -> str:
    return "pg_current_snapshot()::text"


@compiles(snapshot, "sqlite")
def _snapshot_sqlite(_element: snapshot, _compiler: SQLCompiler, **_: Any) -> str:
    return "NULL"


def begun_by(taken: str, number: int) -> bool:
    """Tell whether a transaction of this number may have been under way when a snapshot was taken, or before."""
    return number < int(taken.split(":")[1])


class horizon_or(FunctionElement[int]):  # noqa: N801 (a SQL function)
    """The last number that is settled whatever comes; where all are, the value given."""

    type = WholeType()
    inherit_cache = True


@compiles(horizon_or, "postgresql")
def _horizon_or_postgresql(_element: horizon_or, _compiler: SQLCompiler, **_: Any) -> str:
    return "(pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)"


@compiles(horizon_or, "sqlite")
def _horizon_or_sqlite(element: horizon_or, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class last_key_or(FunctionElement[int]):  # noqa: N801 (a SQL function)
    """A key behind all others of a number that is settled; where all are, the value given."""

    type = WholeType()
    inherit_cache = True


@compiles(last_key_or, "postgresql")
def _last_key_or_postgresql(_element: last_key_or, _compiler: SQLCompiler, **_: Any) -> str:
    return "9223372036854775807::bigint"


@compiles(last_key_or, "sqlite")
def _last_key_or_sqlite(element: last_key_or, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)
