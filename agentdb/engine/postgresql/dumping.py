"""A schema of PostgreSQL in a file, and back, through pg_dump and psql."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.config import Settings
from agentdb.engine.looking import vector_schema
from agentdb.engine.postgresql.programs import Program, programs, running
from agentdb.engine.schema.direct import connected, telling
from agentdb.errors import BadSettings
from agentdb.urls import Target

SCRATCH: Final = "agentdb_scratch_"
_BEING_MADE_SECONDS: Final = 60
# The schema and the extension are there already, and who may do what is the installation's affair.
_LEFT_OUT: Final = re.compile(r"^\d+; \d+ \d+ (?:SCHEMA|COMMENT - (?:SCHEMA|EXTENSION)|EXTENSION|ACL|DEFAULT ACL) ")
_SCHEMA: Final = "SELECT current_schema()"
# What pg_dump's and pg_restore's newer versions say to servers that do not know it.
_NEWER: Final = {17: b"SET transaction_timeout = 0;\n"}
_FUNCTIONS: Final = (
    "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE starts_with(p.proname, 'agentdb_')"
    " AND p.pronamespace = quote_ident(current_schema())::regnamespace AND p.prokind = 'f'"
)
_TABLES: Final = (
    "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relname = ANY($1)"
    " AND c.relnamespace = quote_ident(current_schema())::regnamespace"
)


@asynccontextmanager
async def dumping(connection: AsyncConnection, target: Target, into: Path) -> AsyncIterator[None]:
    """Dump the schema that a connection's transaction sees, while the block looks at the same.

    Args:
        connection: in a transaction that sees one moment.
        target: its database.
        into: a file that is not there.

    Raises: BadSettings when there is no pg_dump for this server; Unavailable when it fails.
    """
    with telling("the backup cannot begin"):
        folder = await programs(await major(connection))
        snapshot = await connection.scalar(text("SELECT pg_export_snapshot()"))
        schema = await connection.scalar(text(_SCHEMA))
    words = ["--format=custom", f"--file={into}", f"--snapshot={snapshot}", f"--schema={_quoted(schema)}"]
    async with running(folder, "pg_dump", *words, "--no-password", "--no-owner", target=target) as dump:
        yield
        await dump.ended()


def _quoted(name: Any) -> str:
    """Return the pattern that a program takes for one name and no other."""
    doubled = str(name).replace('"', '""')
    return f'"{doubled}"'


async def major(connection: AsyncConnection) -> int:
    """Return the server's major version."""
    number = await connection.scalar(text("SELECT current_setting('server_version_num')::int"))
    return int(number or 0) // 10_000


async def load(settings: Settings, dump: Path, tables: Collection[str]) -> None:
    """Put a dump in the place of what is there of the same tables, in one transaction.

    Whoever ends meanwhile, and however, leaves the database as it was: the COMMIT is written by this process, once
    pg_restore has written all of the dump and ended well.

    Args:
        settings: of a database that has the schema and pgvector.
        dump: a file of `dumping`.
        tables: the names of all tables that are replaced; those that the dump lacks go. None: what the dump has may not
            be there.

    Raises: Unavailable when it fails, as when somebody else's view needs one of the tables.
    """
    async with connected(settings) as connection:
        with telling("restoring cannot begin"):
            server = await major(connection)
            folder = await programs(server)
            driver: Any = (await connection.get_raw_connection()).driver_connection
            found = [name for (name,) in await driver.fetch(_TABLES, list(tables))]
            functions = [name for (name,) in await driver.fetch(_FUNCTIONS)]
            path = await driver.fetchval("SELECT current_setting('search_path')")
    begin = [
        "BEGIN;",
        f"SET LOCAL search_path = {path};",
        f"SET LOCAL lock_timeout = {round(settings.lock_timeout_seconds * 1000)};",
        *([f"DROP TABLE {', '.join(found)};"] if found else []),
        *(f"DROP FUNCTION {name};" for name in functions),
        "",
    ]
    wanted = dump.with_name(f"{dump.name}.{uuid.uuid4().hex}.list")
    try:
        await _list(folder, dump, wanted)
        options = ["--file=-", f"--use-list={wanted}", "--no-owner", "--no-privileges", "--no-tablespaces"]
        options += ["--clean", "--if-exists"] if tables else []
        async with (
            running(folder, "pg_restore", *options, str(dump)) as source,
            running(
                folder, "psql", "--no-psqlrc", "--no-password", "--quiet", "--set=ON_ERROR_STOP=1",
                "--set=VERBOSITY=terse", "--output=/dev/null", "--file=-", target=settings.direct,
            ) as sink,
        ):  # fmt: skip
            await _pour(source, sink, "\n".join(begin).encode(), server)
            await sink.ended()
    finally:
        wanted.unlink(missing_ok=True)


async def _list(folder: Path, dump: Path, wanted: Path) -> None:
    """Write which of a dump's items are restored, as pg_restore takes it."""
    async with running(folder, "pg_restore", "--list", str(dump)) as listing:
        items = (await listing.read()).decode().splitlines()
    kept = "\n".join(item for item in items if not _LEFT_OUT.match(item))
    await asyncio.to_thread(wanted.write_text, kept + "\n")


async def _pour(source: Program, sink: Program, begin: bytes, server: int) -> None:
    listening = await sink.feed(begin)
    first = True
    async for chunk in source.output():
        listening = listening and await sink.feed(_understood(chunk, server) if first else chunk)
        first = False
        if not listening:
            return  # it tells by itself what it did not like
    await source.ended()
    await sink.feed(b"\nCOMMIT;\n")


def _understood(beginning: bytes, server: int) -> bytes:
    """Return the beginning of a dump without the settings that a server of this version does not have."""
    for since, setting in _NEWER.items():
        if server < since:
            beginning = beginning.replace(setting, b"", 1)
    return beginning


def place_vector(connection: Connection, schema: str) -> None:
    """See that pgvector is where a dump looks for it; where there is none, it is made there.

    Raises: BadSettings when it is in another schema.
    """
    found = vector_schema(connection)
    quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
    if found is None:
        if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": quoted}) is None:
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
        connection.exec_driver_sql(f"CREATE EXTENSION vector SCHEMA {quoted}")
    elif found != schema:
        raise BadSettings(
            f"the backup expects pgvector in the schema {schema}, and this database has it in {found}; let its owner"
            f" run: ALTER EXTENSION vector SET SCHEMA {quoted}"
        )


@asynccontextmanager
async def scratch_database(settings: Settings) -> AsyncIterator[Settings]:
    """Make an empty database on the same server while the block lasts, and yield settings that name it.

    Those that a killed process has left are dropped before.

    Raises: BadSettings when this user may not make one.
    """
    name = f"{SCRATCH}{int(time.time())}_{uuid.uuid4().hex}"
    async with connected(settings) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        with telling("the scratch database cannot be made"):
            try:
                await _make(driver, name)
            except asyncpg.InsufficientPrivilegeError:
                raise BadSettings(
                    f"{settings.direct.user} may not make the database in which the backup is verified; let an"
                    " administrator grant it CREATEDB, or leave the verification out"
                ) from None
    scratch = settings.over(settings.direct.with_database(name))
    try:
        async with connected(scratch):  # tells others that it is in use
            yield scratch
    finally:
        async with connected(settings) as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            await driver.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _make(driver: Any, name: str) -> None:
    await _drop_left(driver)
    await driver.execute(f"CREATE DATABASE {name}")
    path = await driver.fetchval("SELECT current_setting('search_path')")
    await driver.execute(f"ALTER DATABASE {name} SET search_path = {path}")  # which leads to pgvector


async def _drop_left(driver: Any) -> None:
    left = await driver.fetch(
        "SELECT d.datname FROM pg_database d WHERE starts_with(d.datname, $1)"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)",
        SCRATCH,
    )
    for (name,) in left:
        begun = name.removeprefix(SCRATCH).partition("_")[0]
        if begun.isdigit() and time.time() - int(begun) > _BEING_MADE_SECONDS:
            try:
                await driver.execute(f"DROP DATABASE IF EXISTS {name}")
            except asyncpg.PostgresError:
                continue  # another user's, or in use by now
