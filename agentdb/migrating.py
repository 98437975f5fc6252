"""Migrations, as functions: one history for both databases, and what a live database differs from it in.

The history is Alembic's, under ``migrations/`` in a checkout and ``agentdb/_migrations`` in the wheel. All pending
migrations are one transaction, on SQLite too; of several processes that start at once, one migrates and the others
wait. ``schema_version`` holds the number of the last migration, and is all that connecting reads.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine.choice import AnyEngine, serving
from agentdb.engine.plan import Plan
from agentdb.engine.saving import keep_copy
from agentdb.engine.schema.catalog import Description, Difference, compare, describe, parse, table_exists
from agentdb.engine.schema.direct import alone, connected, create_all, scratch, telling
from agentdb.engine.schema.history import HISTORY, NO_ROW, Command, Report, Version, head, newer, run, version_of
from agentdb.engine.schema.renumbering import ahead
from agentdb.errors import BadInput, BadSettings, SchemaMismatch
from agentdb.models import SchemaVersion

__all__ = [
    "HISTORY",
    "Difference",
    "Report",
    "Version",
    "check",
    "current",
    "describe_history",
    "describe_models",
    "downgrade",
    "ensure",
    "head",
    "revision",
    "stamp",
    "upgrade",
]

_DATABASE: Final = "the database"
_TO_COME: Final = "transactions that this server has still to begin, as in a database that was moved"
_GIVEN: Final = "such as it has begun; run `agentdb migrate`, or followers wait for them"


@cache
def _plans(schema: str | None) -> tuple[Plan[int], Plan[bool]]:
    """Return what reads the version, and what tells whether there is a table to read it from.

    Args: schema: on PostgreSQL, the only one to look in: the search path leads to others behind it.
    """
    there = table_exists("schema_version", schema)
    version = select(SchemaVersion.version).where(SchemaVersion.id == 1, there)
    return (
        Plan(version, name="schema version", point=True),
        Plan(select(there), name="schema version's table", point=True),
    )


async def ensure(engine: AnyEngine, settings: Settings) -> None:
    """See that an open database has the schema this code expects; bring it up to date unless the settings forbid it.

    Raises: SchemaMismatch when it is newer, or older and AGENTDB_MIGRATE is never.
    Cost: one read when there is nothing to do.
    """
    version, expected = await _read(engine, settings.target.schema), head()
    if version == expected:
        return
    if version is not None and version > expected:
        raise newer(version, expected)
    if settings.migrate == "never":
        state = (
            "has no schema yet" if version is None else f"is at version {version}, older than this code's {expected}"
        )
        raise SchemaMismatch(f"the database {state}; run `agentdb migrate`")
    await upgrade(settings, path=getattr(engine, "path", None))
    await engine.reconnect()


async def _read(engine: AnyEngine, schema: str | None) -> int | None:
    """Return the version; None only when the catalog says there is no such table."""
    read_version, is_there = _plans(schema)
    problem = SchemaMismatch(NO_ROW)
    for _ in range(2):  # again, for the table that another process makes between the two reads
        try:
            version = await engine.fetch_one(read_version, {})
            if version is not None:
                return version
        except SchemaMismatch as error:
            problem = error
        if not await engine.fetch_one(is_there, {}):
            return None
    raise problem


async def upgrade(
    settings: Settings, revision: str = "head", *, path: Path | None = None, history: Path = HISTORY
) -> Report:
    """Apply the migrations up to a revision, all of them or none; and let a database that was moved be followed.

    Args:
        settings: which database.
        revision: such as 0003, or how many steps: +1.
        path: the file of a database in memory, which the settings do not know.
        history: a folder like ``migrations/``.

    Raises:
        BadInput: there is no such revision.
        BadSettings: pgvector is missing, or the user may not change the schema.
        SchemaMismatch: the database is newer than the history.
    """
    return await _change("upgrade", settings, revision, path, history)


async def downgrade(settings: Settings, revision: str, *, path: Path | None = None, history: Path = HISTORY) -> Report:
    """Take migrations back, down to a revision; what only they hold is lost.

    Args: revision: such as 0003, base for an empty database, or how many steps: -1.
    Raises: as `upgrade`.
    """
    return await _change("downgrade", settings, revision, path, history)


async def stamp(settings: Settings, revision: str, *, path: Path | None = None, history: Path = HISTORY) -> Report:
    """Say which revision a database is at, and change nothing else.

    Raises: BadInput for a revision that is not in the history.
    """
    return await _change("stamp", settings, revision, path, history)


async def revision(settings: Settings, message: str, *, history: Path = HISTORY) -> Path:
    """Write a new migration from what the models differ in from a database that is up to date; for developers.

    What comes out is a proposal: CHECKs, triggers, functions and conditions are for the author, as is SQLite where a
    table must be rebuilt (`agentdb.engine.sqlite.rebuild`).

    Args: message: what it does; becomes part of the file's name.
    Raises: BadSettings outside a checkout; BadInput when the database is not up to date.
    """
    if history.name == "_migrations":
        raise BadSettings("migrations are written in a checkout of agentdb, not in what is installed from it")
    existing = {*(history / "versions").iterdir()}
    await _change("revision", settings, message, None, history)
    head.cache_clear()
    (written,) = {*(history / "versions").glob("*.py")} - existing
    return written


async def current(settings: Settings) -> Version | None:
    """Return the version a database is at; None when it has no schema."""
    if settings.target.kind == "sqlite" and not (settings.target.path and settings.target.path.exists()):
        return None
    async with serving(settings) as served, connected(served) as connection:
        with telling("reading the schema's version"):
            return await connection.run_sync(version_of, served.direct.schema)


async def check(settings: Settings) -> list[Difference]:
    """Return what differs between a database, the history and the models: none when they agree.

    Tables of others beside ours do not count. On PostgreSQL, the models are left out where the user may not make a
    schema for a moment.
    """
    found, expected = await current(settings), f"{head():04}"
    if found is None:
        return [Difference("version", _DATABASE, None, expected)]
    told = [] if found.revision == expected else [Difference("version", _DATABASE, found.revision, expected)]
    async with serving(settings) as served, connected(served) as connection:
        with telling("describing the schema"):
            live, models, history = await connection.run_sync(_three)
            moved = await connection.run_sync(ahead, Entity.metadata)
    told += [Difference(f"the numbering of {table}", _DATABASE, _TO_COME, _GIVEN) for table in moved]
    told += compare(live, history, within=_DATABASE)
    return told + compare(models, history, within="the models") if models is not None else told


def _three(connection: Connection) -> tuple[Description, Description | None, Description]:
    """Return what is there, what the models make, and what the history made when it was last described."""
    return describe(connection), describe_models(connection), describe_history(connection)


def describe_history(connection: Connection) -> Description:
    """Return the schema that the history made when it was last described."""
    path = HISTORY / "schema" / f"{connection.dialect.name}.sql"
    return parse(path.read_text(encoding="utf-8"))


def describe_models(connection: Connection) -> Description | None:
    """Return the schema that the models make, built where nobody sees it; None where that is not allowed."""
    with scratch(connection) as place:
        if place is None:
            return None
        create_all(Entity.metadata, place)
        return describe(place)


async def _change(command: Command, settings: Settings, argument: str, path: Path | None, history: Path) -> Report:
    if command != "revision" and not argument.rpartition("@")[2]:  # Alembic has no words for it
        raise BadInput(f"{command} {argument!r}: expected a revision, such as {head(history):04}, or head")
    async with serving(settings) as served, alone(served, path) as connection:
        if served.backup_before_migrate and command in {"upgrade", "downgrade"}:
            before = await current(served)  # by another connection: this one begins its transaction with Alembic
            if before is not None and not (argument == "head" and before.number == head(history)):
                await keep_copy(served, before.revision)
        work = partial(run, schema=served.direct.schema, metadata=Entity.metadata, history=history)
        with telling(f"{command} {argument!r} failed, and the database is as it was"):
            return await connection.run_sync(work, command, argument)
