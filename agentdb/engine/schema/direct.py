"""One connection straight to a database, for changing its schema: nobody else changes it meanwhile.

It is SQLAlchemy's own, since Alembic speaks through one; it is opened for one piece of work, and never pooled.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, Connection, MetaData, Table, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from agentdb.config import Settings, prepare_folder, require_sqlite
from agentdb.engine.postgresql import errors as postgresql_errors
from agentdb.engine.sqlite import errors as sqlite_errors
from agentdb.engine.sqlite.connection import make_file
from agentdb.errors import AgentDBError, BadSettings, Contended, SchemaMismatch, Unavailable

OLDEST_VECTOR: Final = (0, 8, 4)
LOCK: Final = int.from_bytes(b"agentdb\0")
PATIENCE_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 0.05
Driver = Any  # asyncpg.Connection or aiosqlite.Connection


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn the drivers' errors, however wrapped, into ours, which begin with what was being done."""
    try:
        yield
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error, OSError) as error:
        found = _translate(error)
        raise type(found)(f"{what}: {found}") from error


def _translate(error: BaseException) -> AgentDBError:
    cause: BaseException = error.orig or error if isinstance(error, DBAPIError) else error
    while cause.__cause__ is not None and not isinstance(cause, asyncpg.PostgresError | sqlite3.Error):
        cause = cause.__cause__
    if isinstance(cause, sqlite3.Error):
        return sqlite_errors.translate(cause)
    return postgresql_errors.translate(cause)


@asynccontextmanager
async def connected(settings: Settings, path: Path | None = None) -> AsyncIterator[AsyncConnection]:
    """Yield a connection for looking at a schema.

    Args: path: the file of a database in memory, which the settings do not know.
    Raises: BadSettings or Unavailable when it cannot be had.
    """
    if settings.direct.kind == "postgresql":
        async with _connected(URL.create("postgresql+asyncpg"), lambda: _dial(settings)) as connection:
            yield connection
        return
    place = _file(settings, path)
    async with _connected(URL.create("sqlite+aiosqlite", database=str(place)), None) as connection:
        yield connection


@asynccontextmanager
async def alone(settings: Settings, path: Path | None = None) -> AsyncIterator[AsyncConnection]:
    """Yield a connection for changing a schema: whoever else wants to waits until the block is left.

    On SQLite it is within BEGIN IMMEDIATE already, and references are not enforced, as that could not be changed within
    a transaction: `verify` looks at them before the commit. On PostgreSQL a lock of the session is held.

    Args: path: as for `connected`.
    Raises: BadSettings, also when pgvector is not to be had; Unavailable when the others take too long.
    """
    if settings.direct.kind != "postgresql":
        require_sqlite()
        place = _file(settings, path)
        prepare_folder(place.parent, setting=settings.target.source)
        make_file(place)
    elif settings.pooler == "transaction" and settings.direct_url is None:
        raise BadSettings("migrating needs PostgreSQL past its pooler; set AGENTDB_DIRECT_URL")
    async with connected(settings, path) as connection:
        driver: Driver = (await connection.get_raw_connection()).driver_connection
        with telling("migrating cannot begin"):
            if settings.direct.kind == "postgresql":
                await _require_vector(driver)
                await _in_turn(lambda: driver.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))
                await driver.execute(f"SET lock_timeout = {round(settings.lock_timeout_seconds * 1000)}")
            else:
                await driver.execute("PRAGMA foreign_keys = OFF")
                await driver.execute("PRAGMA busy_timeout = 0")
                await _in_turn(lambda: _begin(driver))
                # Without a write-ahead log, the commit has to wait for readers.
                await driver.execute(f"PRAGMA busy_timeout = {round(settings.sqlite_busy_timeout_seconds * 1000)}")
        yield connection


def _file(settings: Settings, path: Path | None) -> Path:
    place = path or settings.target.path
    if place is None:
        raise BadSettings("a database in memory is migrated when it is opened; name a file, or PostgreSQL")
    return place


@asynccontextmanager
async def _connected(url: URL, dial: Callable[[], Awaitable[Driver]] | None) -> AsyncIterator[AsyncConnection]:
    # isolation_level None: sqlite3 begins no transactions of its own, so that DDL is within ours.
    options: dict[str, Any] = {"connect_args": {"isolation_level": None}} if dial is None else {"async_creator": dial}
    engine = create_async_engine(url, poolclass=NullPool, **options)
    try:
        with telling("connecting"):
            connection = await engine.connect()
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await engine.dispose()


async def _dial(settings: Settings) -> Driver:
    target = settings.direct
    connection = await asyncpg.connect(
        **target.connect_arguments(), timeout=settings.connect_timeout_seconds, statement_cache_size=0
    )
    try:
        await connection.execute("SET statement_timeout = 0")  # a migration takes as long as it takes
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _in_turn(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Try until it succeeds.

    PostgreSQL is asked again and again rather than left waiting: a statement that waits holds a snapshot, and CREATE
    INDEX CONCURRENTLY waits for all of those. SQLite's own waiting would keep a cancelled caller.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not await attempt():
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable(f"another process has been migrating this database for {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)


async def _begin(driver: Driver) -> bool:
    try:
        await driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if isinstance(sqlite_errors.translate(error), Contended):
            return False
        raise
    return True


async def _require_vector(driver: Driver) -> None:
    """Refuse a server without pgvector, before anything is changed."""
    row = await driver.fetchrow(
        "SELECT current_database() AS database, current_user AS login, "
        "(SELECT extversion FROM pg_extension WHERE extname = 'vector') AS installed, "
        "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector') AS available, "
        "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS may"
    )
    wanted = ".".join(map(str, OLDEST_VECTOR))
    if row["installed"] is None and row["available"] is None:
        raise BadSettings(
            f"the PostgreSQL server lacks pgvector; install version {wanted} or newer on it, and let an administrator "
            f"run in database {row['database']!r}: CREATE EXTENSION vector"
        )
    if row["installed"] is not None and _numbers(row["installed"]) < OLDEST_VECTOR:
        raise BadSettings(
            f"pgvector {row['installed']} is too old, {wanted} is the oldest that is supported; let an administrator "
            f"run in database {row['database']!r}: ALTER EXTENSION vector UPDATE"
        )
    if row["installed"] is None and _numbers(row["available"]) < OLDEST_VECTOR:
        raise BadSettings(
            f"the PostgreSQL server has pgvector {row['available']}, {wanted} is the oldest that is supported; "
            "install a newer one on it"
        )
    if row["installed"] is None and not row["may"]:
        raise BadSettings(
            f"database {row['database']!r} lacks pgvector, which {row['login']} may not create; let an administrator "
            "run there: CREATE EXTENSION vector"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def prepare(connection: Connection, schema: str | None, tables: Container[str]) -> None:
    """Within the transaction, and before any migration: make what they build on, remove what a failed one left.

    Args:
        connection: in the transaction.
        schema: where the tables are to be; None: the first on the search path. One that is not there would be passed
            over, and the tables be made in the next.
        tables: whose invalid indexes are dropped: CREATE INDEX CONCURRENTLY leaves one where it fails.
    """
    if connection.dialect.name == "sqlite":
        return
    if schema is not None:
        quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
        if connection.execute(text("SELECT to_regnamespace(:name)"), {"name": quoted}).scalar() is None:
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
    if connection.exec_driver_sql("SELECT 1 FROM pg_extension WHERE extname = 'vector'").scalar() is None:
        # In public, where a schema of ours beside this one finds it too.
        public = connection.exec_driver_sql("SELECT to_regnamespace('public')").scalar()
        connection.exec_driver_sql("CREATE EXTENSION vector" + (" SCHEMA public" if public else ""))
    invalid = connection.exec_driver_sql(
        "SELECT c.relname, quote_ident(i.relname) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
        " JOIN pg_class c ON c.oid = x.indrelid"
        " WHERE NOT x.indisvalid AND c.relnamespace = quote_ident(current_schema())::regnamespace"
    )
    for table, index in invalid.all():
        if table in tables:
            connection.exec_driver_sql(f"DROP INDEX {index}")


def verify(connection: Connection) -> None:
    """Within the transaction, and after all migrations: see that every reference leads somewhere.

    Raises: SchemaMismatch naming a table whose rows refer to nothing. PostgreSQL checks by itself.
    """
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise SchemaMismatch(f"the migration leaves rows of {broken[0]} that refer to no row of {broken[2]}")


@contextmanager
def scratch(connection: Connection) -> Iterator[Connection | None]:
    """Yield a connection that may build a schema which nobody sees and nothing is left of; None where it may not.

    Args: connection: in a transaction that is rolled back in the end, or in none.
    """
    if connection.dialect.name == "sqlite":
        engine = create_engine("sqlite://")
        with engine.connect() as memory:
            yield memory
        engine.dispose()
        return
    if not connection.exec_driver_sql("SELECT has_database_privilege(current_database(), 'CREATE')").scalar():
        yield None
        return
    schema = f"agentdb_scratch_{uuid.uuid4().hex}"
    path = connection.exec_driver_sql("SELECT current_setting('search_path')").scalar()
    connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    connection.exec_driver_sql(f"SET LOCAL search_path = {schema}, {path}")
    try:
        yield connection
    finally:
        connection.rollback()


def create_all(metadata: MetaData, connection: Connection, tables: Sequence[Table] | None = None) -> None:
    """Make everything that a metadata holds, or those of its tables that are given.

    SQLAlchemy's own, run once on PostgreSQL, notes at the references of cycles that they were added by ALTER TABLE, and
    omits them on SQLite ever after.
    """
    references = [key for table in metadata.tables.values() for key in table.foreign_key_constraints]
    for key in references:
        key._create_rule = None  # noqa: SLF001
    metadata.create_all(connection, tables, checkfirst=False)
    for key in references:
        key._create_rule = None  # noqa: SLF001
