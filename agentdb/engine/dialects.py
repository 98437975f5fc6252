"""SQLAlchemy's two dialects, told to leave connections alone: ours are set up already, and stay as they are.

Stock dialects change a pooled connection when they first see it (codecs, functions, a rollback) and begin and end
transactions of their own. Here they compile, and talk through a driver connection that somebody else owns.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import asyncpg
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import NullPool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection, PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, SQLiteDialect_aiosqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only


class PostgreSQLDialect(PGDialect_asyncpg):
    """PostgreSQL over asyncpg; asks the server nothing, changes nothing on a connection."""

    supports_statement_cache = True
    default_schema_name = "public"

    def on_connect(self) -> None:
        """Leave the codecs alone: the vocabulary's own processors encode and decode."""
        return

    def initialize(self, connection: SyncConnection) -> None:  # noqa: ARG002
        """Ask nothing: this dialect speaks to PostgreSQL 16 and newer only."""
        self.server_version_info = (16,)
        self._backslash_escapes = False


class SQLiteDialect(SQLiteDialect_aiosqlite):
    """SQLite over aiosqlite; changes nothing on a connection."""

    supports_statement_cache = True
    default_schema_name = "main"

    def on_connect(self) -> None:  # type: ignore[override]
        """Add no functions of its own."""
        return

    def initialize(self, connection: SyncConnection) -> None:
        """Ask nothing."""

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin as the only writer, when the connection is not in a transaction already."""
        begin = getattr(dbapi_connection, "begin", None)
        if begin is not None:
            begin()

    def do_rollback_to_savepoint(self, connection: SyncConnection, name: str) -> None:
        """Undo a part of the transaction, and with it what failed there."""
        super().do_rollback_to_savepoint(connection, name)  # type: ignore[no-untyped-call]
        mark = getattr(connection.connection.dbapi_connection, "mark_failed", None)
        if mark is not None:
            mark(False)


_LOGGED_AS: Final = "agentdb"
_logger: Final = logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGED_AS}")

registry.register("postgresql.agentdb", __name__, PostgreSQLDialect.__name__)
registry.register("sqlite.agentdb", __name__, SQLiteDialect.__name__)

POSTGRESQL: Final = PostgreSQLDialect()  # type: ignore[no-untyped-call]
SQLITE: Final = SQLiteDialect()
POSTGRESQL.initialize(None)  # type: ignore[arg-type]


class _DiscreetPostgreSQL(AsyncAdapt_asyncpg_connection):
    """A driver connection whose errors tell nothing of what is stored."""

    __slots__ = ()

    def _handle_exception(self, error: Exception) -> NoReturn:
        quiet(error)
        super()._handle_exception(error)


class LentPostgreSQL(_DiscreetPostgreSQL):
    """A driver connection inside somebody else's transaction: begin, commit, rollback and close do nothing."""

    __slots__ = ()

    async def _start_transaction(self) -> None:
        return

    def rollback(self) -> None:
        """Leave the transaction to its owner."""

    def commit(self) -> None:
        """Leave the transaction to its owner."""

    def close(self) -> None:
        """Leave the connection to its owner."""

    def terminate(self) -> None:
        """Leave the connection to its owner."""


class PooledPostgreSQL(_DiscreetPostgreSQL):
    """A driver connection of our pool, with transactions of its own; closing it gives it back."""

    __slots__ = ("give_back",)
    give_back: Callable[[], None]

    def close(self) -> None:
        """Roll back what is open, and give the connection back."""
        try:
            self.rollback()  # type: ignore[no-untyped-call]
        finally:
            self.give_back()

    def terminate(self) -> None:
        """Give the connection back to be cleaned."""
        self.give_back()


class LentSQLite(AsyncAdapt_aiosqlite_connection):
    """A driver connection inside somebody else's transaction: commit, rollback and close do nothing."""

    __slots__ = ("begin_unit", "mark_failed")
    begin_unit: Callable[[], Awaitable[None]]
    mark_failed: Callable[[bool], None]

    def begin(self) -> None:
        """Begin the owner's transaction, when nothing has been asked in it yet."""
        await_only(self.begin_unit())

    def _handle_exception(self, error: Exception) -> NoReturn:
        self.mark_failed(True)  # PostgreSQL ends a transaction at its first error by itself
        super()._handle_exception(error)

    def rollback(self) -> None:
        """Leave the transaction to its owner."""

    def commit(self) -> None:
        """Leave the transaction to its owner."""

    def close(self) -> None:
        """Leave the connection to its owner."""

    def terminate(self) -> None:
        """Leave the connection to its owner."""


class PooledSQLite(AsyncAdapt_aiosqlite_connection):
    """The writing connection, with transactions of its own; closing it lets the next writer in."""

    __slots__ = ("give_back",)
    give_back: Callable[[], None]

    def begin(self) -> None:
        """Begin as the writer at once: a later upgrade could fail."""
        if not self._connection.in_transaction:
            try:
                await_only(self._connection.execute("BEGIN IMMEDIATE"))
            except Exception as error:  # noqa: BLE001 (SQLAlchemy's own translation)
                self._handle_exception(error)

    def close(self) -> None:
        """Roll back what is open, and let the next writer in."""
        try:
            self.rollback()
        finally:
            self.give_back()

    def terminate(self) -> None:
        """Let the next writer in once the connection is clean."""
        self.give_back()


def quiet(error: BaseException) -> None:
    """Take out of a driver's error what it quotes of keys, rows and parameters: whoever prints it tells secrets."""
    if not isinstance(error, asyncpg.PostgresError):
        return
    error.detail = None
    error.context = None
    if (error.sqlstate or "").startswith("22"):  # its message is about the value; the driver's own errors are such too
        error.args = (f"this value is refused [{error.sqlstate}]",)
        error.__cause__ = None


def driver_error(error: DBAPIError) -> BaseException:
    """Return the driver's own error that SQLAlchemy has wrapped, twice for an async driver."""
    wrapped: BaseException = error.orig or error
    return wrapped.__cause__ or wrapped


def once(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls ``call`` the first time only: by the second, a connection may be somebody else's."""
    left = [call]

    def give_back() -> None:
        if left:
            left.pop()()

    return give_back


def _not_rows(record: logging.LogRecord) -> bool:
    """Let statements be logged, and not the rows they return: `hide_parameters` keeps only parameters back."""
    return record.levelno > logging.DEBUG


def engine_over(scheme: str, connect: Callable[[], Awaitable[Any]]) -> AsyncEngine:
    """Return a SQLAlchemy engine whose connections are ours.

    Args: connect: returns an adapted driver connection; the engine keeps none of them.
    """
    _logger.addFilter(_not_rows)  # the same function is added once
    return create_async_engine(
        f"{scheme}+agentdb://",
        poolclass=NullPool,
        hide_parameters=True,
        logging_name=_LOGGED_AS,
        creator=lambda: await_only(connect()),
    )


def connection_over(engine: AsyncEngine, adapted: Any) -> AsyncConnection:
    """Return a SQLAlchemy connection over one adapted driver connection, without asking any pool."""
    pool = NullPool(lambda: adapted, dialect=engine.dialect)
    return AsyncConnection(engine, SyncConnection(engine.sync_engine, connection=pool.connect()))
