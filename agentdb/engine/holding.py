"""Names held to the end of a transaction: by many who share them, or by one alone."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Boolean
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement


def number_of(name: str) -> int:
    """Return the number that a name is held by."""
    return int.from_bytes(hashlib.sha256(f"agentdb: {name}".encode()).digest()[:8], signed=True)


class held_together(FunctionElement[Any]):  # noqa: N801 (a SQL function)
    """Wait until nobody holds a number alone, and hold it with others; SQLite's one writer need not."""

    inherit_cache = True


@compiles(held_together, "postgresql")
def _held_together_postgresql(element: held_together, compiler: SQLCompiler, **kw: Any) -> str:
    return f"pg_advisory_xact_lock_shared({compiler.process(element.clauses, **kw)})"


@compiles(held_together, "sqlite")
def _held_together_sqlite(element: held_together, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)} IS NULL"


class held_alone(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether nobody else holds a number, which from then on is held alone; SQLite's one writer always is."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is: SQLAlchemy would write ``... = 1`` for SQLite."""
        return self


@compiles(held_alone, "postgresql")
def _held_alone_postgresql(element: held_alone, compiler: SQLCompiler, **kw: Any) -> str:
    return f"pg_try_advisory_xact_lock({compiler.process(element.clauses, **kw)})"


@compiles(held_alone, "sqlite")
def _held_alone_sqlite(_element: held_alone, _compiler: SQLCompiler, **_: Any) -> str:
    return "true"
