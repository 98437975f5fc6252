"""A compiler that renders a statement within one user's scope.

A table that rows come from is rendered as the rows of it that the user sees, under the same name: wherever it stands,
within an outer join, a subquery, a WITH clause or the arm of a union. Both databases read such a subquery as if its
condition stood in the statement around it.

A change concerns rows of the user's alone. A reference that is written to a row which the user does not see is written
as a key that no row has: the database answers as it does for a row that is not there, and nothing is stored.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Select, Table, and_, bindparam, null
from sqlalchemy.dialects.postgresql.dml import OnConflictDoNothing, OnConflictDoUpdate
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import immutabledict

from agentdb.engine.columns import generated
from agentdb.engine.scoping.conditions import NEVER, Conditions, Paths, columns_of, is_shared, leading
from agentdb.engine.scoping.wording import Wording
from agentdb.errors import BadInput, ReadOnly
from agentdb.owners import By, Fixed

TENANT: Final = "agentdb_tenant"
NO_ROW: Final = "-1"  # keys begin at 1

_TENANT: Final = bindparam(TENANT, type_=BigInteger(), required=True)


class _Within(ColumnElement[bool]):
    """The condition that a row of the table that is changed is the user's."""

    __visit_name__ = "scope_within"
    type = Boolean()
    inherit_cache = False

    def __init__(self, table: Table) -> None:
        self.table_within = table

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        """Stand as it is: SQLAlchemy would write ``... = 1`` for SQLite."""
        return self


class _Written(ColumnElement[Any]):
    """A reference that is written: to a row that the user sees, or to none that is there."""

    __visit_name__ = "scope_written"
    inherit_cache = False

    def __init__(self, column: Column[Any], value: ColumnElement[Any], row: Mapping[str, ColumnElement[Any]]) -> None:
        self.column, self.value, self.row = column, value, row
        self.type = column.type

    @property
    def _from_objects(self) -> Any:
        return self.value._from_objects  # noqa: SLF001 (no public name)


class Scoping(Wording):
    """A compiler that scopes what it renders: mixed into a dialect's own."""

    paths: Paths

    @cached_property
    def _conditions(self) -> Conditions:
        this: Any = self
        return Conditions(self.paths, this.preparer.quote, lambda: this.process(_TENANT))

    # What is read

    def visit_table(self, table: Any, asfrom: bool = False, iscrud: bool = False, **options: Any) -> Any:
        """Render a table that rows come from as those of its rows that the user sees."""
        this: Any = super()
        text = this.visit_table(table, asfrom=asfrom, iscrud=iscrud, **options)
        if not asfrom or iscrud:
            return text
        if not isinstance(table, Table):
            raise BadInput(f"{table.name} declares no owner path, and is not seen within a user's scope")
        name = self._quoted(table)
        condition = self._conditions.readable(table, name)
        if condition is None:
            return text
        # A follower asks which transaction wrote a row.
        columns = f"{name}.*, {name}.xmin" if self._tells_writers and "tx" in table.c else "*"
        rows = f"(SELECT {columns} FROM {name} WHERE {condition})"
        enclosing = options.get("enclosing_alias")
        return rows if enclosing is not None and enclosing.element is table else f"{rows} AS {name}"

    @property
    def _tells_writers(self) -> bool:
        this: Any = self
        return bool(this.dialect.name == "postgresql")

    def _quoted(self, table: Table) -> str:
        this: Any = self
        return str(this.preparer.quote(table.name))

    # What is changed

    def visit_update(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Change rows of the user's, to what refers to nobody else's."""
        table = self._alone(statement, "changed")
        values = {_key(key): value for key, value in dict(statement._values or ()).items()}  # noqa: SLF001 (no public name)
        values = {**self._bound(table, values, options), **values}
        _check_ids(table, values)
        written = {
            table.c[key]: _Written(table.c[key], value, {})
            for key, value in values.items()
            if key in table.c and table.c[key].foreign_keys
        }
        this: Any = super()
        return this.visit_update(_giving(statement.where(_Within(table)), written), *arguments, **options)

    def visit_delete(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Remove rows of the user's."""
        table = self._alone(statement, "removed")
        this: Any = super()
        return this.visit_delete(statement.where(_Within(table)), *arguments, **options)

    def visit_insert(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Add rows that are the user's, and refer to nobody else's; a row in the way is touched if it is the user's."""
        table = self._changed(statement)
        if By(next(iter(table.primary_key.columns)).key) == self._conditions.path(table) and any(
            generated(column) for column in table.primary_key
        ):
            raise ReadOnly(f"{table.name} are not added within a user's scope; use the database without it")
        if statement.select is not None:
            scoped = self._from_select(statement, table)
        else:
            scoped = self._from_values(statement, table, options)
        conflict = scoped._post_values_clause  # noqa: SLF001 (no public name)
        if isinstance(conflict, OnConflictDoUpdate):
            scoped._post_values_clause = _careful(conflict, table)  # noqa: SLF001 (a copy, ours)
        elif conflict is not None and not isinstance(conflict, OnConflictDoNothing):
            raise BadInput("what is to be done on a conflict is said by insert_into() within a user's scope")
        this: Any = super()
        return this.visit_insert(scoped, *arguments, **options)

    def _changed(self, statement: Any) -> Table:
        """Return the table that is changed.

        Raises: ReadOnly for one that no user owns rows of.
        """
        table = statement.table
        if not isinstance(table, Table):
            raise BadInput("only a table's own rows are changed within a user's scope")
        if isinstance(self._conditions.path(table), Fixed):
            raise ReadOnly(f"{table.name} belong to the installation, and are not changed within a user's scope")
        return table

    def _alone(self, statement: Any, verb: str) -> Table:
        """Return the table of rows that are changed, which are one user's alone.

        Raises: ReadOnly for one of rows that others have got too, and would find changed, or lose.
        """
        table = self._changed(statement)
        if is_shared(self._conditions.path(table), table):
            raise ReadOnly(f"{table.name} are others' too, and are not {verb} within a user's scope")
        return table

    def _bound(self, table: Table, values: Mapping[str, Any], options: Any) -> dict[str, ColumnElement[Any]]:
        """Return the values that are bound by their columns' names."""
        this: Any = self
        keys = this.column_keys if not this.stack and options.get("visiting_cte") is None else None
        return {
            key: bindparam(key, type_=table.c[key].type, required=True)
            for key in keys or ()
            if key in table.c and key not in values
        }

    def _from_values(self, statement: Any, table: Table, options: Any) -> Any:
        if statement._multi_values:  # noqa: SLF001 (no public name)
            raise BadInput(f"rows of {table.name} are added one by one within a user's scope")
        given = {_key(key): value for key, value in dict(statement._values or ()).items()}  # noqa: SLF001 (no public name)
        row = {**self._bound(table, given, options), **given}
        _check_ids(table, row)
        owner = leading(self._conditions.path(table))
        written = {
            table.c[key]: _Written(table.c[key], row.get(key, null()), row)
            for key in {key for key in row if table.c[key].foreign_keys} | owner
        }
        return _giving(statement, written)

    def _from_select(self, statement: Any, table: Table) -> Any:
        """Return the statement with the references that its SELECT gives checked."""
        select = statement.select
        names = [_key(name) for name in statement._select_names]  # noqa: SLF001 (no public name)
        missing = leading(self._conditions.path(table)) - set(names)
        if not isinstance(select, Select) or select._distinct or select._group_by_clauses:  # noqa: SLF001 (no public name)
            rows = select.subquery("written")
            select = Select(*rows.c)
        columns = list(select.selected_columns)
        row = {**dict(zip(names, columns, strict=True)), **{name: null() for name in missing}}
        _check_ids(table, row)
        checked = [
            _Written(table.c[name], value, row).label(f"written_{name}")
            if table.c[name].foreign_keys or name in missing
            else value
            for name, value in row.items()
        ]
        copied = statement._generate()  # noqa: SLF001 (a copy)
        copied.select = select.with_only_columns(*checked, maintain_column_froms=True)
        copied._select_names = [*statement._select_names, *missing]  # noqa: SLF001 (a copy, ours)
        return copied

    def visit_scope_within(self, element: Any, **_options: Any) -> str:
        """Render when the row that is changed is the user's."""
        table = element.table_within
        return self._conditions.writable(table, self._quoted(table)) or "1 = 1"

    def visit_scope_written(self, element: Any, **options: Any) -> str:
        """Render a reference: as it is when the user may write it, else as the key of no row."""
        options.pop("within_columns_clause", None)
        options.pop("add_to_result_map", None)
        column, table = element.column, element.column.table
        value = self._text(element.value, options)
        path = self._conditions.path(table)
        if column.key in leading(path):
            row = {key: self._text(other, options) for key, other in element.row.items() if key in columns_of(path)}
            condition = self._conditions.of_path(path, table, {**row, column.key: value})
            return f"CASE WHEN {condition or '1 = 1'} THEN {value} ELSE {NO_ROW} END"
        key = next(iter(column.foreign_keys)).column
        # A later column of an UPDATE's path is not known to be passed by; of an INSERT, the leading one has seen to it.
        theirs = column.key in columns_of(path) and not element.row
        if isinstance(self._conditions.path(key.table), Fixed):
            return value  # the foreign key alone tells whether it is there
        condition = self._conditions.referred(key.table, key.name, value, writing=theirs)
        if condition is None:
            return value
        if condition == NEVER:
            return f"CASE WHEN {value} IS NOT NULL THEN {NO_ROW} END"
        return f"CASE WHEN {value} IS NULL THEN NULL WHEN {condition} THEN {value} ELSE {NO_ROW} END"

    def _text(self, element: Any, options: Any) -> str:
        this: Any = self
        return str(this.process(element.self_group(), **options))


def _giving(statement: Any, written: Mapping[Any, Any]) -> Any:
    """Return a copy of a statement that gives some columns other values."""
    copied = statement._generate()  # noqa: SLF001 (no public name)
    names = {column.key for column in written}
    others = {key: value for key, value in dict(statement._values or ()).items() if _key(key) not in names}  # noqa: SLF001 (no public name)
    copied._values = immutabledict({**others, **written}) or None  # noqa: SLF001 (a copy, ours)
    return copied


def _careful(conflict: OnConflictDoUpdate, table: Table) -> OnConflictDoUpdate:
    """Return an ON CONFLICT that touches a row of the user's alone, and makes it refer to nobody else's."""
    careful = copy.copy(conflict)
    within = _Within(table)
    before = conflict.update_whereclause
    careful.update_whereclause = within if before is None else and_(before, within)
    careful.update_values_to_set = {
        key: _Written(table.c[_key(key)], value, {}) if table.c[_key(key)].foreign_keys else value
        for key, value in conflict.update_values_to_set.items()
    }
    return careful


def _check_ids(table: Table, given: Iterable[str]) -> None:
    """Refuse an id that is chosen: it would tell that another's row has it, or take it away before one does."""
    for name in given:
        if name in table.c and table.c[name].identity is not None:
            raise BadInput(f"{table.name}.{name} is made by the database within a user's scope; leave it out")


def _key(column: Any) -> str:
    return str(getattr(column, "key", column))


def scoping(dialect: Dialect, paths: Paths) -> Dialect:
    """Return a dialect that compiles within a user's scope."""
    scoped = copy.copy(dialect)
    compiler: type[SQLCompiler] = dialect.statement_compiler
    scoped.statement_compiler = type(f"Scoping{compiler.__name__}", (Scoping, compiler), {"paths": paths})
    return scoped
