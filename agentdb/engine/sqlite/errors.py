"""sqlite3's errors, by their SQLite names, as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Delete, ForeignKeyConstraint, Table

from agentdb.engine import violations
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.plans import ScopedPlan
from agentdb.errors import (
    AgentDBError,
    BadInput,
    BadSettings,
    Conflict,
    Contended,
    DatabaseCorrupt,
    ReadOnly,
    SchemaMismatch,
    Unavailable,
)

# Source: https://www.sqlite.org/rescode.html; an extended name begins with its primary one.
_NAMES: Final[Mapping[str, tuple[type[AgentDBError], str]]] = {
    "SQLITE_BUSY_SNAPSHOT": (Contended, "another writer was in the way; run the whole unit again"),
    "SQLITE_BUSY": (
        Contended,
        "another process holds the database file (AGENTDB_SQLITE_BUSY_TIMEOUT_SECONDS); try again",
    ),
    "SQLITE_LOCKED": (Contended, "another connection holds a table; try again"),
    "SQLITE_CANTOPEN": (BadSettings, "the database file cannot be opened; check AGENTDB_FOLDER or the database URL"),
    "SQLITE_CORRUPT": (DatabaseCorrupt, "the database file is damaged; restore a backup"),
    "SQLITE_NOTADB": (DatabaseCorrupt, "the file is not a SQLite database; check the path, or restore a backup"),
    "SQLITE_FULL": (Unavailable, "the disk is full; nothing was written"),
    "SQLITE_INTERRUPT": (Unavailable, "the statement took too long and was ended (AGENTDB_STATEMENT_TIMEOUT_SECONDS)"),
    "SQLITE_IOERR": (Unavailable, "the disk failed to read or write; nothing was written"),
    "SQLITE_MISMATCH": (BadInput, "a value does not fit its column"),
    "SQLITE_NOMEM": (Unavailable, "SQLite is out of memory"),
    "SQLITE_PERM": (BadSettings, "the database file may not be opened; check its permissions"),
    "SQLITE_READONLY": (ReadOnly, "this door only reads, or the file may not be written"),
    "SQLITE_SCHEMA": (Contended, "the schema changed under a prepared statement; run the whole unit again"),
    "SQLITE_TOOBIG": (BadInput, "a value is larger than SQLite stores"),
}


def translate(  # noqa: PLR0911 (one return for each kind of error)
    error: BaseException,
    connection: sqlite3.Connection | None = None,
    plan: Plan[Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> AgentDBError:
    """Return our error for the driver's; the caller raises it from the original.

    Args: connection: used, on its own thread, to find which reference was missing: SQLite does not say.
    """
    if isinstance(error, AgentDBError):
        return error
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", None) or ""
        table = violations.table_of(plan)
        if name.startswith("SQLITE_CONSTRAINT") or isinstance(error, sqlite3.IntegrityError):
            return _constraint(name, str(error), connection, plan, table, values or {})
        for known, (kind, message) in _NAMES.items():
            if name.startswith(known):
                told = kind(f"{message} [{name}]")
                if isinstance(told, Contended):
                    told.waited = known == "SQLITE_BUSY"
                return told
        if isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError):
            return BadInput(f"{plan.name if plan else 'statement'}: a value does not fit its column")
        if str(error) == "integer overflow":
            return BadInput(f"{plan.name if plan else 'statement'}: a sum does not fit 64 bits")
        return SchemaMismatch(
            f"{plan.name if plan else 'statement'}: the schema is not what the code expects; run `agentdb migrate`"
        )
    if isinstance(error, OverflowError | UnicodeError | ValueError | TypeError):
        return BadInput(
            f"{plan.name if plan else 'statement'}: a value does not fit its column; text must be valid UTF-8"
        )
    return Unavailable(f"SQLite's driver failed: {type(error).__name__}")


def _constraint(  # noqa: PLR0911 (one return for each kind of violation)
    name: str,
    text: str,
    connection: sqlite3.Connection | None,
    plan: Plan[Any] | None,
    table: Table | None,
    values: Mapping[str, Any],
) -> AgentDBError:
    told = text.partition(": ")[2]  # the class is known by now; this is where SQLite puts columns or names
    match name:
        case "SQLITE_CONSTRAINT_UNIQUE" | "SQLITE_CONSTRAINT_PRIMARYKEY" | "SQLITE_CONSTRAINT_ROWID":
            if table is None:
                return Conflict(f"{told} is taken already", constraint=told)
            columns = {part.rpartition(".")[2] for part in told.split(", ")}
            constraint = (
                told.strip("index '") if told.startswith("index '") else violations.unique_named(table, columns)
            )
            return violations.taken(table, constraint, values)
        case "SQLITE_CONSTRAINT_NOTNULL":
            return violations.required(table, told.rpartition(".")[2])
        case "SQLITE_CONSTRAINT_CHECK":
            return violations.refused(table, told)
        case "SQLITE_CONSTRAINT_TRIGGER" if told.startswith("ck_"):  # a check that asks another table
            return violations.refused(table, told)
        case "SQLITE_CONSTRAINT_TRIGGER":
            # ON DELETE RESTRICT is a trigger of SQLite's own.
            if table is not None and plan is not None and isinstance(plan.statement, Delete):
                return _not_removed(connection, table, values)
            return violations.append_only(table)
        case "SQLITE_CONSTRAINT_FOREIGNKEY":
            return _reference(connection, plan, table, values)
    # SQLITE_CONSTRAINT_DATATYPE, which Python 3.11 has no name for: a STRICT table refuses another type.
    return BadInput(f"{plan.name if plan else 'statement'}: a value does not fit the type of its column")


def _reference(
    connection: sqlite3.Connection | None, plan: Plan[Any] | None, table: Table | None, values: Mapping[str, Any]
) -> AgentDBError:
    """Find out which foreign key it was."""
    if table is None:
        return violations.missing(None, "foreign key", values)
    if plan is not None and isinstance(plan.statement, Delete):
        return _not_removed(connection, table, values)
    for foreign_key in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
        if connection is not None and not _exists(connection, foreign_key, values, plan):
            return violations.missing(table, str(foreign_key.name), values)
    return violations.missing(table, "foreign key", values)


def _not_removed(connection: sqlite3.Connection | None, table: Table, values: Mapping[str, Any]) -> AgentDBError:
    """Find out which foreign key still names a row that was to go; if none does, a trigger of ours kept it."""
    for other in sorted(table.metadata.tables.values(), key=lambda other: other.name):
        for foreign_key in other.foreign_key_constraints:
            if foreign_key.referred_table is not table or foreign_key.ondelete in {"CASCADE", "SET NULL"}:
                continue
            named = [values.get(element.column.key) for element in foreign_key.elements]
            condition = " AND ".join(f'"{column.name}" = ?' for column in foreign_key.columns)
            if (
                connection is not None
                and connection.execute(f'SELECT 1 FROM "{other.name}" WHERE {condition}', named).fetchone()
            ):
                return violations.still_referred(table, str(foreign_key.name))
    return violations.append_only(table)


def _exists(
    connection: sqlite3.Connection,
    foreign_key: ForeignKeyConstraint,
    values: Mapping[str, Any],
    plan: Plan[Any] | None,
) -> bool:
    named = [values.get(column.key) for column in foreign_key.columns]
    if any(value is None or not isinstance(value, int | str) for value in named):
        return True
    target = foreign_key.referred_table
    condition = " AND ".join(f'"{element.column.name}" = ?' for element in foreign_key.elements)
    if isinstance(plan, ScopedPlan):  # a row that is out of the user's sight is as good as not there
        condition += f" AND {plan.sees(foreign_key, values)}"
    return connection.execute(f'SELECT 1 FROM "{target.name}" WHERE {condition}', named).fetchone() is not None
