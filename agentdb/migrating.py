"""Migrations, as functions: one history for both databases, and what a live database differs from it in.

The history is Alembic's, under ``migrations/`` in a checkout and ``agentdb/_migrations`` in the wheel. All pending
migrations are one transaction, on SQLite too; of several processes that start at once, one migrates and the others
wait. ``schema_version`` holds the number of the last migration, and is all that connecting reads.
"""

from __future__ import annotations

import asyncio
import re
from argparse import Namespace
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, MetaData, bindparam, select, text

from agentdb import clock
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.engine.catalog import Description, Difference, compare, describe, parse, table_exists
from agentdb.engine.choice import AnyEngine, serving
from agentdb.engine.direct import alone, connected, create_all, prepare, scratch, telling, verify
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import MomentType
from agentdb.errors import BadInput, BadSettings, SchemaMismatch
from agentdb.models import SchemaVersion, tables

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationInfo

_PACKAGE: Final = Path(__file__).parent
HISTORY: Final = next(
    (folder for folder in (_PACKAGE / "_migrations", _PACKAGE.parent / "migrations") if folder.is_dir()),
    _PACKAGE / "_migrations",
)

_is_there: Final = table_exists("schema_version")
_VERSION: Final = Plan[int](
    select(SchemaVersion.version).where(SchemaVersion.id == 1, _is_there), name="schema version", point=True
)
_IS_THERE: Final = Plan[bool](select(_is_there), name="schema version's table", point=True)


@dataclass(frozen=True, slots=True)
class Version:
    """Which migration a database is at."""

    number: int
    revision: str
    updated: datetime

    def __str__(self) -> str:
        return self.revision


@dataclass(frozen=True, slots=True)
class Report:
    """What migrating did."""

    before: str | None  # None: the database had no schema
    after: str | None
    revisions: tuple[str, ...]  # that were applied, or taken back, in this order


@cache
def head(history: Path = HISTORY) -> int:
    """Return the number of the last migration, as the names of the files tell it."""
    numbers = [int(found[1]) for path in (history / "versions").iterdir() if (found := _VERSIONED.fullmatch(path.name))]
    if not numbers:
        raise BadSettings(f"there are no migrations in {history}; install agentdb anew")
    return max(numbers)


_VERSIONED: Final = re.compile(r"(\d{4})_\w+\.py")


async def ensure(engine: AnyEngine, settings: Settings) -> None:
    """See that an open database has the schema this code expects; bring it up to date unless the settings forbid it.

    Raises: SchemaMismatch when it is newer, or older and AGENTDB_MIGRATE is never.
    Cost: one read when there is nothing to do.
    """
    version, expected = await _read(engine), head()
    if version == expected:
        return
    if version is not None and version > expected:
        raise _newer(version, expected)
    if settings.migrate == "never":
        state = (
            "has no schema yet" if version is None else f"is at version {version}, older than this code's {expected}"
        )
        raise SchemaMismatch(f"the database {state}; run `agentdb migrate`")
    await upgrade(settings, path=getattr(engine, "path", None))
    await engine.reconnect()


async def _read(engine: AnyEngine) -> int | None:
    """Return the version; None only when the catalog says there is no such table."""
    problem = SchemaMismatch("schema_version has no row; restore a backup, or run `agentdb stamp` when you are sure")
    try:
        version = await engine.fetch_one(_VERSION, {})
        if version is not None:
            return version
    except SchemaMismatch as error:
        problem = error
    if await engine.fetch_one(_IS_THERE, {}):
        raise problem
    return None


def _newer(version: int, expected: int) -> SchemaMismatch:
    return SchemaMismatch(
        f"the database is at version {version}, newer than this code's {expected}; install a newer agentdb"
    )


async def upgrade(
    settings: Settings, revision: str = "head", *, path: Path | None = None, history: Path = HISTORY
) -> Report:
    """Apply the migrations up to a revision, all of them or none.

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
    table must be rebuilt (`agentdb.engine.rebuild`).

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
            return await connection.run_sync(_version)


async def check(settings: Settings) -> list[Difference]:
    """Return what differs between a database, the history and the models: none when they agree.

    Tables of others beside ours do not count. On PostgreSQL, the models are left out where the user may not make a
    schema for a moment.
    """
    found = await current(settings)
    version = f"{head():04}"
    if found is None or found.revision != version:
        told = [Difference("version", "the database", found.revision if found else None, version)]
        if found is None:
            return told
    else:
        told = []
    async with serving(settings) as served, connected(served) as connection:
        with telling("describing the schema"):
            live, models, expected = await connection.run_sync(_three)
    told += compare(live, expected, within="the database")
    return told + compare(models, expected, within="the models") if models is not None else told


def _three(connection: Connection) -> tuple[Description, Description | None, Description]:
    """Return what is there, what the models make, and what the history made when it was last described."""
    path = HISTORY / "schema" / f"{connection.dialect.name}.sql"
    return describe(connection), describe_models(connection), parse(path.read_text(encoding="utf-8"))


def describe_models(connection: Connection) -> Description | None:
    """Return the schema that the models make, built where nobody sees it; None where that is not allowed."""
    with scratch(connection) as place:
        if place is None:
            return None
        create_all(Entity.metadata, place)
        return describe(place)


def _version(connection: Connection) -> Version | None:
    if not connection.scalar(select(_is_there)):
        return None
    columns = (SchemaVersion.version, SchemaVersion.revision, SchemaVersion.updated)
    row = connection.execute(select(*columns).where(SchemaVersion.id == 1)).first()
    if row is None:
        raise SchemaMismatch("schema_version has no row; restore a backup, or run `agentdb stamp` when you are sure")
    return Version(*row)


async def _change(command: str, settings: Settings, revision: str, path: Path | None, history: Path) -> Report:
    expected = await asyncio.to_thread(head, history)
    async with serving(settings) as served, alone(served, path) as connection:
        with telling(f"{command} {revision!r} failed, and the database is as it was"):
            return await connection.run_sync(_run, command, revision, expected, served.direct.schema, history)


def _run(
    connection: Connection, command: str, revision: str, expected: int, schema: str | None, history: Path
) -> Report:
    """Let Alembic do something, on this connection and no other."""
    from alembic import command as alembic
    from alembic.util import CommandError

    run = Run(connection, expected, schema)
    config = _configuration(history)
    config.attributes["run"] = run
    try:
        match command:
            case "upgrade":
                alembic.upgrade(config, revision)
            case "downgrade":
                alembic.downgrade(config, revision)
            case "stamp":
                alembic.stamp(config, revision)
            case _:
                alembic.revision(config, revision, autogenerate=True, rev_id=f"{expected + 1:04}")
    except CommandError as error:
        raise BadInput(f"{command} {revision!r}: {error}") from error
    return Report(run.before, run.after, tuple(run.revisions))


def _configuration(history: Path) -> Config:
    from alembic.config import Config

    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", str(history).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


@dataclass(slots=True)
class Run:
    """One run of Alembic's: the connection that ``env.py`` must use, and what happens around the migrations."""

    connection: Connection
    expected: int
    schema: str | None
    before: str | None = None
    after: str | None = None
    revisions: list[str] = field(default_factory=list)

    @property
    def metadata(self) -> MetaData:
        """What a new migration is written from."""
        return Entity.metadata

    def includes(self, name: str | None, kind: str, _parents: Any) -> bool:
        """Tell whether a new migration may concern something: tables of others are left alone."""
        return kind != "table" or name in tables

    def begin(self) -> None:
        """Within the transaction, before any migration: refuse a newer database, and make what migrations build on."""
        version = _version(self.connection)
        if version is not None:
            if version.number > self.expected:
                raise _newer(version.number, self.expected)
            self.before = self.after = version.revision
        prepare(self.connection, self.schema, tables)

    def stamp(self, ctx: object, step: MigrationInfo, heads: Collection[str], run_args: object) -> None:  # noqa: ARG002
        """Within the transaction, after each migration: say in schema_version where the database is now."""
        self.revisions.append(step.up_revision_id or "")
        self.after = max(heads, default=None)
        if not self.connection.scalar(select(_is_there)):
            return
        self.connection.execute(text("DELETE FROM schema_version"))
        if self.after is not None:
            values = {"number": int(self.after), "revision": self.after, "now": clock.now()}
            self.connection.execute(_STAMP, values)

    def finish(self) -> None:
        """Within the transaction, after all migrations: see that rows still refer to rows."""
        verify(self.connection)


# Of its own words, not the model's: a migration may meet the table as it once was.
_STAMP: Final = text(
    "INSERT INTO schema_version (id, version, revision, created_at, updated) VALUES (1, :number, :revision, :now, :now)"
).bindparams(bindparam("now", type_=MomentType()))
