"""asyncpg's errors, by SQLSTATE, as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from sqlalchemy import Table

from agentdb.engine import violations
from agentdb.engine.dialects import quiet
from agentdb.engine.plan import Plan
from agentdb.errors import (
    AgentDBError,
    BadInput,
    BadSettings,
    Contended,
    DatabaseCorrupt,
    ReadOnly,
    SchemaMismatch,
    Unavailable,
)

# Source: PostgreSQL 18, appendix A.
_CLASSES: Final[Mapping[str, tuple[type[AgentDBError], str]]] = {
    "08": (Unavailable, "the connection to PostgreSQL was lost; try again"),
    "22": (BadInput, "PostgreSQL refuses this value"),
    "25006": (ReadOnly, "this transaction cannot write"),
    "25P02": (BadInput, "the unit has failed already; nothing more can be done in it"),
    "25P03": (
        Unavailable,
        "the transaction was idle for too long and was ended (AGENTDB_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS)",
    ),
    "28": (BadSettings, "PostgreSQL refuses this user or password; check the database URL"),
    "3D000": (BadSettings, "there is no such PostgreSQL database; create it, or check the database URL"),
    "42501": (BadSettings, "this PostgreSQL user may not do that; see `agentdb grants`"),
    "42P01": (SchemaMismatch, "a table is missing; run `agentdb migrate`"),
    "42703": (SchemaMismatch, "a column is missing; run `agentdb migrate`"),
    "53100": (Unavailable, "PostgreSQL's disk is full"),
    "53": (Unavailable, "PostgreSQL is out of a resource (connections, memory, disk); try later"),
    "54": (BadInput, "PostgreSQL refuses a value or statement of this size"),
    "57014": (
        Unavailable,
        "the statement took too long and was ended, nothing of it is stored (AGENTDB_STATEMENT_TIMEOUT_SECONDS)",
    ),
    "57": (Unavailable, "PostgreSQL is shutting down or starting up; try again"),
    "58": (Unavailable, "PostgreSQL met an error of its operating system"),
    "XX001": (DatabaseCorrupt, "PostgreSQL found a damaged page; restore a backup"),
    "XX002": (DatabaseCorrupt, "PostgreSQL found a damaged index; rebuild it"),
}


def told_by_server(error: BaseException) -> bool:
    """Tell whether the server itself reports an error of a statement, and goes on: then nothing of it is stored.

    Classes 08 and 57P are the connection and the server ending; what was under way may have been committed.
    """
    return isinstance(error, asyncpg.PostgresError) and not (error.sqlstate or "08").startswith(("08", "57P"))


def translate(
    error: BaseException, plan: Plan[Any] | None = None, values: Mapping[str, Any] | None = None
) -> AgentDBError:
    """Return our error for the driver's; the caller raises it from the original."""
    if isinstance(error, AgentDBError):
        return error
    quiet(error)  # tracebacks show the cause
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(error, violations.table_of(plan), values or {})
    if isinstance(error, asyncpg.DataError | UnicodeError | OverflowError | ValueError | TypeError):
        # Raised by asyncpg before anything is sent; its message quotes the value.
        return BadInput(
            f"{plan.name if plan else 'statement'}: a value does not fit its column; text must be valid UTF-8"
        )
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
        return Unavailable(f"the connection to PostgreSQL was lost ({type(error).__name__}); try again")
    return Unavailable(f"PostgreSQL's driver failed: {type(error).__name__}")


def _by_state(  # noqa: PLR0911 (one return for each kind of violation)
    error: asyncpg.PostgresError, table: Table | None, values: Mapping[str, Any]
) -> AgentDBError:
    state = error.sqlstate or ""
    constraint = getattr(error, "constraint_name", None) or ""
    match state:
        case "23505":
            return violations.taken(table, constraint, values)
        case "23503" | "23001":
            return _reference(error, table, constraint, values)
        case "23514":
            return violations.refused(table, constraint)
        case "23502":
            return violations.required(table, str(getattr(error, "column_name", "") or "a column"))
        case "55P03":
            return Contended("a lock was not free in time; run the whole unit again", waited=True)
        case "40001" | "40P01":
            return Contended("another transaction was in the way; run the whole unit again")
        case "0A000" if isinstance(error, asyncpg.InvalidCachedStatementError):
            return Contended("the schema changed under a prepared statement; run the whole unit again")
    for known in (state, state[:2]):
        if known in _CLASSES:
            kind, message = _CLASSES[known]
            return kind(f"{message} [{state}]")
    return Unavailable(f"PostgreSQL failed with SQLSTATE {state}")


def _reference(
    error: asyncpg.PostgresError, table: Table | None, constraint: str, values: Mapping[str, Any]
) -> AgentDBError:
    """Tell a row that names another in vain from one that others still name: both bear the referring table's name."""
    if table is None or getattr(error, "table_name", None) == table.name:
        return violations.missing(table, constraint, values)
    return violations.still_referred(table, constraint)
