"""What a statement touches: the tables it reads, locks and changes, within its WITH clauses and subqueries too.

Nothing is guessed from a text: the compiler that renders a statement writes down each table as it comes by. A text that
somebody else wrote touches nothing that anybody here knows of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import CTE, FromClause, Join, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import iterate

from agentdb.engine.locking import writers_wait
from agentdb.engine.numbering import ids_go_on
from agentdb.engine.plan import Plan

PLANS_KEPT: Final = 4096


@dataclass(slots=True)
class Touched:
    """The tables that a statement touches, by name."""

    reads: set[str] = field(default_factory=set)
    locks: set[str] = field(default_factory=set)
    adds: set[str] = field(default_factory=set)
    removes: set[str] = field(default_factory=set)
    updates: dict[str, set[str]] = field(default_factory=dict)  # and which columns of it

    def add(self, other: Touched) -> None:
        """Add what another statement touches."""
        self.reads |= other.reads
        self.locks |= other.locks
        self.adds |= other.adds
        self.removes |= other.removes
        for table, columns in other.updates.items():
            self.updates.setdefault(table, set()).update(columns)

    @property
    def writes(self) -> set[str]:
        """The tables it changes."""
        return self.adds | self.removes | set(self.updates)


class Noting:
    """A compiler that notes what the statement touches: mixed into a dialect's own."""

    touched: Touched

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.touched = Touched()  # before the statement is compiled, which happens within the next line
        super().__init__(*arguments, **options)

    def visit_table(self, table: Any, asfrom: bool = False, **options: Any) -> Any:
        """Note a table that rows come from."""
        if asfrom:
            self.touched.reads.add(table.name)
        return super().visit_table(table, asfrom=asfrom, **options)  # type: ignore[misc]

    def visit_insert(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Note a table that rows go to."""
        self.touched.adds.add(statement.table.name)
        return super().visit_insert(statement, *arguments, **options)  # type: ignore[misc]

    def visit_delete(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Note a table that rows are removed from."""
        self.touched.removes.add(statement.table.name)
        return super().visit_delete(statement, *arguments, **options)  # type: ignore[misc]

    def visit_update(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Note a table whose rows change, and the columns."""
        values = dict(statement._values or ())  # noqa: SLF001 (it has no public name)
        named: Iterable[Any] = values or getattr(self, "column_keys", None) or ()
        keys = {getattr(column, "key", column) for column in named}
        # A flush names the parameters of its WHERE among the columns.
        self.touched.updates.setdefault(statement.table.name, set()).update(keys & {*statement.table.c.keys()})
        return super().visit_update(statement, *arguments, **options)  # type: ignore[misc]

    def for_update_clause(self, select: Any, **options: Any) -> Any:
        """Note the tables whose rows are locked."""
        within: Any = self.stack[-1]  # type: ignore[attr-defined]
        self.touched.locks |= _named(select._for_update_arg.of or within["asfrom_froms"])  # noqa: SLF001 (no public name)
        return super().for_update_clause(select, **options)  # type: ignore[misc]


def _named(elements: Iterable[Any]) -> set[str]:
    """Return the tables that FROM or FOR UPDATE OF names; those within a WITH clause are not locked from outside."""
    found: set[str] = set()
    for element in elements:
        source = element if isinstance(element, FromClause) else element.table
        if isinstance(source, CTE | Join):  # the sides of a join come by themselves
            continue
        found |= {part.name for part in iterate(source) if isinstance(part, Table)}
    return found


def noting(dialect: Dialect) -> type[SQLCompiler]:
    """Return a dialect's compiler, as one that notes what it renders."""
    compiler = dialect.statement_compiler
    return type(f"Noting{compiler.__name__}", (Noting, compiler), {})


@lru_cache(maxsize=PLANS_KEPT)
def touched(plan: Plan[Any], dialect: Dialect) -> Touched:
    """Return what a plan touches on a database, alone or joined with others."""
    found = _touched(plan.statement, dialect, plan.columns)
    if plan.together is not None and dialect.name == "postgresql":
        found.add(_touched(plan.together.statement, dialect, None))
    return found


def _touched(statement: Executable, dialect: Dialect, columns: Any) -> Touched:
    if isinstance(statement, writers_wait):
        return Touched(locks={statement.table.name})
    if isinstance(statement, ids_go_on):
        return Touched(reads={statement.table.name}, adds={statement.table.name})
    keys = list(columns) if columns is not None and getattr(statement, "select", None) is None else None
    compiled: Any = noting(dialect)(dialect, statement, column_keys=keys)  # type: ignore[arg-type]
    found: Touched = compiled.touched
    return found
