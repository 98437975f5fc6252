"""Indexes of single collections: how they are spelled on PostgreSQL, and how a search finds rows by one.

SQLite has none: it looks at each vector, and at all of a collection's in a few milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ClauseElement,
    Executable,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.schema.catalog import OF_COLLECTION
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.engine.spelling import TextType
from agentdb.engine.vectors.expressions import COUNT, OPERATORS
from agentdb.engine.vectors.ranking import Distance
from agentdb.errors import BadInput, BadSettings

OLDEST_VECTOR: Final = (0, 8, 4)
MOST_DIMENSIONS: Final = 2_000  # of float32 in an index
MOST_DIMENSIONS_HALVED: Final = 4_000
CANDIDATES: Final = 200  # that a binary index finds, to be ranked by what they really are


class IndexKind(StrEnum):
    """How a collection's vectors are indexed."""

    hnsw = auto()
    hnsw_binary = auto()
    ivfflat = auto()


class _Form(StrEnum):
    vector = auto()
    halfvec = auto()
    bit = auto()


_OPERATORS: Final = {Distance.cosine: "cosine_ops", Distance.l2: "l2_ops", Distance.inner_product: "ip_ops"}


def _form(kind: IndexKind, dimension: int) -> _Form:
    """Return what an index holds of each vector.

    Raises: BadInput for vectors too long for an index of this kind.
    """
    if kind is IndexKind.hnsw_binary:
        return _Form.bit
    if dimension > MOST_DIMENSIONS_HALVED:
        raise BadInput(
            f"an index of kind {kind} holds vectors of up to {MOST_DIMENSIONS_HALVED:,} numbers, not {dimension:,}; "
            f"{IndexKind.hnsw_binary} holds longer ones"
        )
    return _Form.vector if dimension <= MOST_DIMENSIONS else _Form.halfvec


def _spelled(form: _Form, dimension: int, vector: str) -> str:
    """Return a vector as an index holds it."""
    if form is _Form.bit:
        return f"(binary_quantize(CAST({vector} AS vector({dimension})))::bit({dimension}))"
    if form is _Form.halfvec:
        return f"(CAST(CAST({vector} AS vector({dimension})) AS halfvec({dimension})))"
    return f"(CAST({vector} AS vector({dimension})))"


class _far(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """How far a vector is from another, as an index reckons it; of PostgreSQL."""

    inherit_cache = False

    def __init__(
        self, column: ColumnElement[Any], vector: ColumnElement[Any], form: _Form, by: Distance, n: int
    ) -> None:
        self.form, self.by, self.dimension = form, by, n
        super().__init__(column, vector)


@compiles(_far)
def _far_spelled(element: _far, compiler: SQLCompiler, **kw: Any) -> str:
    one, other = (compiler.process(clause, **kw) for clause in element.clauses)
    operator = "<~>" if element.form is _Form.bit else OPERATORS[element.by]
    left, right = (_spelled(element.form, element.dimension, vector) for vector in (one, f"CAST({other} AS vector)"))
    return f"{left} {operator} {right}"


def found_by_index(
    table: Table,
    collection: int,
    kind: IndexKind,
    by: Distance,
    dimension: int,
    conditions: Sequence[ColumnElement[bool]],
) -> Select[Any]:
    """Return the query for the ids of those nearest by a collection's index, the nearest ``count`` that are found.

    The collection's id is in the text: only then does the planner know that its index holds the rows.
    """
    # Where the planner takes no index, those without an embedding would be the farthest.
    whole = table.c.embedding.is_not(None)
    own = and_(table.c.collection_id == literal_column(str(int(collection))), whole, *conditions)
    vector = of(table.c.embedding, "vector")
    form = _form(kind, dimension)
    far = _far(table.c.embedding, vector, form, by, dimension)
    if form is not _Form.bit:
        return select(table.c.id).where(own).order_by(far).limit(COUNT)
    rough = (
        select(table.c.id, table.c.embedding).where(own).order_by(far).limit(func.greatest(COUNT, literal(CANDIDATES)))
    )
    some = rough.correlate(None).subquery("rough")
    exact = _far(some.c.embedding, vector, _Form.vector, by, dimension)
    return select(some.c.id).order_by(exact).limit(COUNT)


def index_name(collection: int) -> str:
    """Return what the index of a collection is called."""
    return f"{OF_COLLECTION}{int(collection)}"


class make_index(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Index a collection's vectors while others write to it; outside any transaction.

    Args:
        collection: whose.
        kind: how.
        by: the collection's distance.
        dimension: of its vectors.
        options: ``m`` and ``ef_construction``, or ``lists``: whole numbers.
    """

    inherit_cache = False

    def __init__(
        self, collection: int, kind: IndexKind, by: Distance, dimension: int, options: Mapping[str, int]
    ) -> None:
        self.name = index_name(collection)
        self.collection = int(collection)
        form = _form(kind, dimension)
        operators = "bit_hamming_ops" if form is _Form.bit else f"{form}_{_OPERATORS[by]}"
        method = "ivfflat" if kind is IndexKind.ivfflat else "hnsw"
        self.using = f"{method} ({_spelled(form, dimension, 'embedding')} {operators})"
        self.numbers = ", ".join(f"{name} = {int(value)}" for name, value in options.items())


@compiles(make_index)
def _make_index(element: make_index, _compiler: SQLCompiler, **_: Any) -> str:
    options = f" WITH ({element.numbers})" if element.numbers else ""
    return (
        f"CREATE INDEX CONCURRENTLY {element.name} ON vectors USING {element.using}{options} "
        f"WHERE collection_id = {element.collection}"
    )


class drop_index(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Drop the index of a collection, whole or half made, while others read; outside any transaction."""

    inherit_cache = False

    def __init__(self, collection: int) -> None:
        self.name = index_name(collection)


@compiles(drop_index)
def _drop_index(element: drop_index, _compiler: SQLCompiler, **_: Any) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {element.name}"


# What PostgreSQL is asked and told around an index

TRY_TO_BE_ALONE: Final = Plan[bool](
    select(func.pg_try_advisory_lock(func.hashtextextended(bindparam("index", type_=TextType()), 0))),
    name="indexes: one at a time",
)
"""Keeps other builders of an index away while the connection lasts; never waits: who waits has a snapshot, and CREATE
INDEX CONCURRENTLY waits for those."""

EXTENSION: Final = beyond_tenant(
    Plan[str](
        text("SELECT extversion FROM pg_extension WHERE extname = 'vector'").columns(extversion=TextType()),
        name="indexes: version",
    ),
    "which version of an extension the server has is nobody's row",
)


@dataclass(frozen=True, slots=True)
class InCatalog:
    """An index as the server knows it."""

    name: str
    valid: bool
    bytes: int


IN_CATALOG: Final = beyond_tenant(
    Plan[InCatalog](
        text(
            "SELECT i.relname, x.indisvalid, pg_relation_size(i.oid)"
            " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
            " WHERE x.indrelid = to_regclass('vectors') AND starts_with(i.relname, :name) ORDER BY i.relname"
        )
        .bindparams(bindparam("name", type_=TextType()))
        .columns(relname=TextType(), indisvalid=Boolean(), bytes=WholeType()),
        name="indexes: catalog",
        rows=InCatalog,
    ),
    "the server's catalog is nobody's row; it is asked for the index of a collection that was found before",
)


@cache
def setting(*, local: bool) -> Plan[str]:
    """Return the plan that sets a parameter of the server.

    Args: local: until the end of the transaction; otherwise as long as the connection lasts.
    """
    name, value = bindparam("name", type_=TextType()), bindparam("value", type_=TextType())
    return Plan(select(func.set_config(name, value, literal(local))), name="vectors: set")


def check_version(version: str | None) -> None:
    """Check that pgvector is new enough for the indexes built here.

    Raises: BadSettings naming both versions.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version or "")[:3])
    if numbers < OLDEST_VECTOR:
        wanted = ".".join(map(str, OLDEST_VECTOR))
        raise BadSettings(
            f"pgvector {version} is too old for an index, {wanted} is the oldest that is supported; let an "
            "administrator install it and run: ALTER EXTENSION vector UPDATE"
        )
