"""The history of migrations: where it is, which of them a database has had, and how Alembic is let loose on one."""

from __future__ import annotations

import re
import warnings
from argparse import Namespace
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sqlalchemy import Connection, MetaData, bindparam, select, text
from sqlalchemy.exc import SAWarning

from agentdb import clock
from agentdb.engine.quantities import MomentType
from agentdb.engine.schema.catalog import table_exists
from agentdb.engine.schema.direct import prepare, verify
from agentdb.engine.schema.fulltext import words_index
from agentdb.engine.schema.renumbering import renumber
from agentdb.errors import BadInput, BadSettings, SchemaMismatch

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationInfo

Command: TypeAlias = Literal["upgrade", "downgrade", "stamp", "revision"]

_PACKAGE: Final = Path(__file__).parents[2]
# The wheel has the first, a checkout the second.
_PLACES: Final = (_PACKAGE / "_migrations", _PACKAGE.parent / "migrations")
HISTORY: Final = next((folder for folder in _PLACES if folder.is_dir()), _PLACES[0])
NO_ROW: Final = (
    "schema_version has no row; when a transfer into this database was broken off, run `agentdb transfer` again;"
    " else restore a backup, or run `agentdb stamp` when you are sure"
)

_VERSIONED: Final = re.compile(r"(\d{4})_\w+\.py")
# In words of their own, not the model's: a migration may meet the table as it once was.
_READ: Final = text("SELECT version, revision, updated FROM schema_version WHERE id = 1").columns(updated=MomentType())
# What else the row holds stays: it tells whose the database is.
_WRITE: Final = text(
    "INSERT INTO schema_version (id, version, revision, created_at, updated) VALUES (1, :number, :revision, :now, :now)"
    " ON CONFLICT (id) DO UPDATE"
    " SET version = excluded.version, revision = excluded.revision, updated = excluded.updated"
).bindparams(bindparam("now", type_=MomentType()))


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
    renumbered: tuple[str, ...] = ()  # tables whose rows were numbered by another server: see `renumbering`


@cache
def head(history: Path = HISTORY) -> int:
    """Return the number of the last migration, as the names of the files tell it."""
    folder = history / "versions"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    numbers = [int(found[1]) for name in names if (found := _VERSIONED.fullmatch(name))]
    if not numbers:
        raise BadSettings(f"there are no migrations in {history}; install agentdb anew")
    return max(numbers)


def version_of(connection: Connection, schema: str | None) -> Version | None:
    """Return the version a database is at; None when it has no schema.

    Args: schema: on PostgreSQL, the one to look in; None: the first on the search path.
    """
    if not connection.scalar(select(table_exists("schema_version", schema))):
        return None
    row = connection.execute(_READ).first()
    if row is None:
        raise SchemaMismatch(NO_ROW)
    return Version(*row)


def newer(version: int, expected: int) -> SchemaMismatch:
    """Return the error for a database that a later agentdb has migrated."""
    return SchemaMismatch(
        f"the database is at version {version}, newer than this code's {expected}; install a newer agentdb"
    )


def run(
    connection: Connection, command: Command, argument: str, *, schema: str | None, metadata: MetaData, history: Path
) -> Report:
    """Let Alembic do something, on this connection and no other.

    Args:
        connection: in no transaction that SQLAlchemy knows of.
        command: which of Alembic's.
        argument: the revision to go to; for ``revision``, the message.
        schema: on PostgreSQL, where the tables are; None: the first on the search path.
        metadata: what the models are.
        history: a folder like ``migrations/``.
    """
    from alembic import command as alembic
    from alembic.util import CommandError

    this = Run(connection, command, head(history), schema, metadata)
    config = configuration(history)
    config.attributes["run"] = this
    try:
        match command:
            case "upgrade":
                alembic.upgrade(config, argument)
            case "downgrade":
                alembic.downgrade(config, argument)
            case "stamp":
                alembic.stamp(config, argument)
            case "revision":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", SAWarning)  # SQLAlchemy cannot name pgvector's type
                    alembic.revision(config, argument, autogenerate=True, rev_id=f"{this.expected + 1:04}")
    except CommandError as error:
        raise BadInput(f"{command} {argument!r}: {error}") from error
    return Report(this.before, this.after, tuple(this.revisions), this.renumbered)


def configuration(history: Path) -> Config:
    """Return Alembic's settings, which are in no file."""
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
    command: Command
    expected: int
    schema: str | None
    metadata: MetaData
    before: str | None = None
    after: str | None = None
    revisions: list[str] = field(default_factory=list)
    renumbered: tuple[str, ...] = ()

    def concerns(self, item: object, name: str | None, kind: str, *_: object) -> bool:
        """Tell whether a new migration may speak of something: tables of others are left alone.

        So are what belongs to the other database; on SQLite, the indexes that Alembic cannot read back from there: it
        would make each of them anew; and everywhere those of words, of which the metadata knows nothing.
        """
        if kind == "table":
            return name in self.metadata.tables
        only = getattr(item, "_ddl_if", None)
        if only is not None and only.dialect != self.connection.dialect.name:
            return False
        if name in {words_index(table.name) for table in self.metadata.tables.values() if "searchable" in table.info}:
            return False
        return kind != "index" or self.connection.dialect.name != "sqlite" or name not in _unreadable(self.metadata)

    def begin(self) -> None:
        """Within the transaction, before any migration: refuse a newer database, and make what migrations build on."""
        if self.command == "stamp":  # which is for a version that is missing or wrong
            with suppress(SchemaMismatch):
                there = version_of(self.connection, self.schema)
                self.before = None if there is None else there.revision
            return
        version = version_of(self.connection, self.schema)
        if version is not None:
            if version.number > self.expected:
                raise newer(version.number, self.expected)
            self.before = self.after = version.revision
        prepare(self.connection, self.schema, self.metadata.tables)

    def applied(self, ctx: object, step: MigrationInfo, heads: Collection[str], run_args: object) -> None:  # noqa: ARG002
        """Within the transaction, after each migration: say in schema_version where the database is now."""
        self.revisions.append(step.up_revision_id or "")
        self._note(max(heads, default=None))

    def _note(self, revision: str | None) -> None:
        self.after = revision
        if not self.connection.scalar(select(table_exists("schema_version", self.schema))):
            return
        if revision is None:
            self.connection.execute(text("DELETE FROM schema_version"))
        else:
            self.connection.execute(_WRITE, {"number": int(revision), "revision": revision, "now": clock.now()})

    def finish(self, heads: Collection[str]) -> None:
        """Within the transaction, after all migrations: see that rows still refer to rows, and can be followed."""
        if self.command == "stamp":
            self._note(max(heads, default=None))  # also where Alembic found nothing to do
        if self.command == "upgrade":
            self.renumbered = renumber(self.connection, self.metadata)
        verify(self.connection)


def _unreadable(metadata: MetaData) -> set[str | None]:
    """Return the names of indexes that run downwards, and of those that SQLite does not have."""
    declared = [index for table in metadata.tables.values() for index in table.indexes]
    return {
        index.name
        for index in declared
        if len(index.columns) < len(index.expressions) or index.dialect_options["postgresql"]["using"]
    }
