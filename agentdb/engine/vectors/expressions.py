"""Vectors in statements: how far apart they are, which are nearest, and what their metadata says.

What both databases are asked has two spellings, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Boolean, Column, Select, Table, bindparam, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.columns import of
from agentdb.engine.containing import contains
from agentdb.engine.quantities import RealType, WholeType
from agentdb.engine.spelling import JsonType
from agentdb.engine.vectors.ranking import Distance

OPERATORS: Final[Mapping[Distance, str]] = {Distance.cosine: "<=>", Distance.l2: "<->", Distance.inner_product: "<#>"}


class distance(FunctionElement[float]):  # noqa: N801 (a SQL function)
    """How far a column's vector is from the one bound by a name, of PostgreSQL: the less, the nearer.

    Cosine: one minus it, and 1 with a vector of zeros. Inner product: its negative. Null where the column is, or holds
    another length.

    Args:
        column: of vectors.
        name: of the parameter.
        by: which distance.
        one_length: whether every row that is looked at is as long as the parameter.
    """

    type = RealType()
    inherit_cache = False

    def __init__(
        self, column: Column[Any], name: str = "vector", by: Distance = Distance.cosine, *, one_length: bool = False
    ) -> None:
        self.by = by
        self.one_length = one_length or getattr(column.type, "length", None) is not None
        super().__init__(column, of(column, name))


@compiles(distance)
def _distance(element: distance, compiler: SQLCompiler, **kw: Any) -> str:
    one, other = (compiler.process(clause, **kw) for clause in element.clauses)
    other = f"CAST({other} AS vector)"
    apart = f"({one} {OPERATORS[element.by]} {other})"
    if element.by is Distance.cosine:
        apart = f"coalesce(nullif({apart}, 'NaN'), 1.0)"
    if element.one_length:
        return apart
    return f"(CASE WHEN vector_dims({one}) = vector_dims({other}) THEN {apart} END)"


class nearest(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether a row is among the nearest ``count`` of its collection: those it may be, in no order.

    Parameters: ``collection_id``, ``vector``, ``count``, and what the conditions bind.

    Args:
        table: of the vectors.
        by: the collection's distance.
        conditions: which of its vectors are searched.
        found: on PostgreSQL, the query that finds the ids by an index; None: by looking at each of them.
    """

    type = Boolean()
    inherit_cache = False

    def __init__(
        self,
        table: Table,
        by: Distance,
        conditions: Sequence[ColumnElement[bool]],
        found: Select[Any] | None = None,
    ) -> None:
        self.by = by
        own = [table.c.collection_id == of(table.c.collection_id), table.c.embedding.is_not(None), *conditions]
        if found is None:
            far = distance(table.c.embedding, by=by, one_length=True)
            found = select(table.c.id).where(*own).order_by(far, table.c.id).limit(COUNT)
        self.found = found.correlate(None)
        ids = select(func.json_group_array(table.c.id)).where(*own).correlate(None)
        self.among = ids.scalar_subquery() if conditions else None
        super().__init__(table.c.id, of(table.c.collection_id), of(table.c.embedding, "vector"), COUNT)

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is."""
        return self


COUNT: Final = bindparam("count", type_=WholeType())


@compiles(nearest, "postgresql")
def _nearest_postgresql(element: nearest, compiler: SQLCompiler, **kw: Any) -> str:
    column = next(iter(element.clauses))
    return f"{compiler.process(column, **kw)} IN ({compiler.process(element.found, **kw)})"


@compiles(nearest, "sqlite")
def _nearest_sqlite(element: nearest, compiler: SQLCompiler, **kw: Any) -> str:
    column, collection, vector, count = (compiler.process(clause, **kw) for clause in element.clauses)
    among = "NULL" if element.among is None else compiler.process(element.among, **kw)
    found = f"agentdb_nearest({collection}, {vector}, '{element.by}', {count}, {among})"
    return f"{column} IN (SELECT value FROM json_each({found}))"


class nearest_of_all(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether a row is among the nearest ``count`` of those that meet conditions, by angle; in no order.

    Rows whose vector has another length are passed by; equally near ones come by their ids, the latest first.
    Parameters: ``vector``, ``count``, and what the conditions bind.

    Args:
        table: of the vectors.
        conditions: which of its rows are searched.
    """

    type = Boolean()
    inherit_cache = False

    def __init__(self, table: Table, conditions: Sequence[ColumnElement[bool]]) -> None:
        embedding, own = table.c.embedding, [*conditions, table.c.embedding.is_not(None)]
        far = distance(embedding)
        found = select(table.c.id).where(*own, far.is_not(None)).order_by(far, table.c.id.desc()).limit(COUNT)
        # In one go, of many rows at a time: a function called for each of them takes a hundred times as long.
        gathered = select(func.agentdb_nearest_of(table.c.id, embedding, of(embedding, "vector"), COUNT)).where(*own)
        self.found, self.gathered = found.correlate(None), gathered.correlate(None)
        super().__init__(table.c.id)

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is."""
        return self


@compiles(nearest_of_all, "postgresql")
def _nearest_of_all_postgresql(element: nearest_of_all, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)} IN ({compiler.process(element.found, **kw)})"


@compiles(nearest_of_all, "sqlite")
def _nearest_of_all_sqlite(element: nearest_of_all, compiler: SQLCompiler, **kw: Any) -> str:
    gathered = compiler.process(element.gathered, **kw)
    return f"{compiler.process(element.clauses, **kw)} IN (SELECT value FROM json_each(({gathered})))"


class tagged(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether a vector of a collection has all the tags of the list bound as ``tags``.

    Each list of tags is looked at once: SQLite would otherwise read every row for it.
    """

    type = Boolean()
    inherit_cache = False

    def __init__(self, table: Table) -> None:
        own = table.c.collection_id == of(table.c.collection_id)
        lists = select(table.c.tags).where(own).distinct().correlate(None).subquery("lists")
        self.lists = select(lists.c.tags).where(contains(lists.c.tags, "tags"))
        super().__init__(table.c.tags, contains(table.c.tags, "tags"))

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is."""
        return self


@compiles(tagged, "postgresql")
def _tagged_postgresql(element: tagged, compiler: SQLCompiler, **kw: Any) -> str:
    _, has_all = element.clauses
    return compiler.process(has_all, **kw)


@compiles(tagged, "sqlite")
def _tagged_sqlite(element: tagged, compiler: SQLCompiler, **kw: Any) -> str:
    column, _ = element.clauses
    return f"{compiler.process(column, **kw)} IN ({compiler.process(element.lists, **kw)})"


class _says(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is."""
        return self


@compiles(_says, "postgresql")
def _says_postgresql(element: _says, compiler: SQLCompiler, **kw: Any) -> str:
    says, wanted = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{says} @> {wanted}"


@compiles(_says, "sqlite")
def _says_sqlite(element: _says, compiler: SQLCompiler, **kw: Any) -> str:
    says, wanted = (compiler.process(clause, **kw) for clause in element.clauses)
    numbers = "('integer', 'real')"
    return (
        f"NOT EXISTS (SELECT 1 FROM json_each({wanted}) AS wanted WHERE NOT EXISTS ("
        f"SELECT 1 FROM json_each({says}) AS said WHERE said.key = wanted.key AND said.value IS wanted.value "
        f"AND (said.type = wanted.type OR said.type IN {numbers} AND wanted.type IN {numbers})))"
    )


def says(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column's object has every member of the object bound as ``name``.

    Their values are texts, numbers, true, false or null.
    """
    return _says(column, bindparam(name, type_=JsonType()))
