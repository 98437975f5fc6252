"""How a database is saved to a file and put back, for both kinds of database."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final, Protocol, TypeAlias, TypeVar

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb import clock
from agentdb.config import Settings, prepare_folder
from agentdb.engine.looking import looking
from agentdb.engine.postgresql.dumping import dumping, load, place_vector, scratch_database
from agentdb.engine.schema.catalog import table_exists
from agentdb.engine.schema.direct import alone, prepare, telling
from agentdb.engine.sqlite import copying
from agentdb.errors import BadSettings, Conflict, Unavailable
from agentdb.urls import sqlite_file

R = TypeVar("R")
Tell: TypeAlias = Callable[[str, int, int], None]
Check: TypeAlias = Callable[[Settings], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A database that was saved."""

    file: Path
    schema: str | None  # of a server's database: where its tables are
    tables: frozenset[str]  # which it has
    vector: str | None = None  # of a server's database: the schema that pgvector is in


class Saving(Protocol):
    """Saves one database, and puts saved ones in its place."""

    kind: str  # of database: what one saved is restored by the other
    file: str  # what a file is called
    beside: Path  # a folder of our own, for what is not finished of a restoration

    def saving(self, into: Path, tell: Tell) -> AbstractAsyncContextManager[AsyncConnection]:
        """Save the database to a file while others write, and yield a connection that sees what is saved."""
        ...

    def scratch(self, saved: Saved, folder: Path) -> AbstractAsyncContextManager[Settings]:
        """Restore where nobody sees it, and yield settings that name the database; it goes with the block.

        Args: folder: of our own, for what is not finished.
        """
        ...

    async def occupied(self, tables: Collection[str]) -> str | None:
        """Return what would be overwritten, in words.

        Args: tables: the names of all tables that are ours.
        """
        ...

    async def restore(
        self, saved: Saved, folder: Path, check: Check, tell: Tell, overwrites: Collection[str]
    ) -> Path | None:
        """Put what was saved in the place of the database, wholly or not at all.

        Args:
            saved: what.
            folder: `beside`.
            check: looks at what was restored, and brings its schema up to date: before it takes its place where that
                is possible, and else after.
            tell: is told how far it is.
            overwrites: the names of the tables that may be replaced; none: there may not be a database.

        Returns: where a database that could not be read was moved to.
        Raises: Conflict when there is a database, which none was told to overwrite.
        """
        ...


class FileSaving:
    """Saves a database that is a file."""

    kind = "sqlite"
    file = "database.sqlite"

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self.beside = path.with_name(f".{path.name}.restoring")

    @asynccontextmanager
    async def saving(self, into: Path, tell: Tell) -> AsyncIterator[AsyncConnection]:
        """Copy the file, and look at the copy."""
        await in_thread(lambda pace: copying.copy(self._path, into, pace("copying pages", tell)))
        async with looking(self._over(into)) as connection:
            yield connection

    @asynccontextmanager
    async def scratch(self, saved: Saved, folder: Path) -> AsyncIterator[Settings]:
        """Copy the file, and see that every page, index and reference of it is sound."""
        place = folder / "scratch.sqlite"
        try:
            await in_thread(lambda _: _copied(saved.file, place))
            await in_thread(lambda _: copying.examine(place))
            yield self._over(place)
        finally:
            await in_thread(lambda _: _removed(folder, "scratch.sqlite*"))

    async def occupied(self, tables: Collection[str]) -> str | None:  # noqa: ARG002
        """Tell whether the file is there, and not empty."""
        return f"the database {self._path}" if self._path.exists() and self._path.stat().st_size else None

    async def restore(
        self, saved: Saved, folder: Path, check: Check, tell: Tell, overwrites: Collection[str]
    ) -> Path | None:
        """Copy the file beside the database, make it ready there, and then put it in place."""
        async with self.scratch(saved, folder) as scratch:
            await check(scratch)
            patience = self._settings.sqlite_busy_timeout_seconds
            replace = partial(
                copying.replace, self._path, folder / "scratch.sqlite", overwrite=bool(overwrites), patience=patience
            )
            try:
                return await in_thread(lambda pace: replace(tell=pace("restoring pages", tell)))
            except FileExistsError:
                raise Conflict(f"the database {self._path} was made meanwhile; nothing was restored") from None

    def _over(self, path: Path) -> Settings:
        return self._settings.over(sqlite_file(path, source="the backup"))


class DumpSaving:
    """Saves a schema of a server."""

    kind = "postgresql"
    file = "database.dump"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.beside = settings.folder.absolute() / ".restoring"

    @asynccontextmanager
    async def saving(self, into: Path, tell: Tell) -> AsyncIterator[AsyncConnection]:  # noqa: ARG002
        """Dump the schema, and look at the same snapshot meanwhile."""
        await in_thread(lambda _: into.touch(mode=0o600))  # its owner's alone from the beginning
        async with (
            looking(self._settings) as connection,
            dumping(connection, self._settings.direct, into),
        ):
            yield connection

    @asynccontextmanager
    async def scratch(self, saved: Saved, folder: Path) -> AsyncIterator[Settings]:  # noqa: ARG002
        """Restore into a new database of the same server, which goes with the block."""
        async with scratch_database(self._settings) as scratch:
            await _loaded(scratch, saved, ())
            yield scratch

    async def occupied(self, tables: Collection[str]) -> str | None:
        """Tell whether any of the tables is there."""
        async with looking(self._settings) as connection:
            with telling("looking at the database"):
                for table in sorted(tables):
                    if await connection.scalar(select(table_exists(table, self._settings.direct.schema))):
                        return f"the table {table} of {self._settings.direct.display}"
        return None

    async def restore(
        self,
        saved: Saved,
        folder: Path,  # noqa: ARG002
        check: Check,
        tell: Tell,
        overwrites: Collection[str],
    ) -> Path | None:
        """Replace the tables in one transaction."""
        tell("restoring tables", 0, 0)
        await _loaded(self._settings, saved, overwrites)
        await check(self._settings)
        return None


async def _loaded(settings: Settings, saved: Saved, overwrites: Collection[str]) -> None:
    async with alone(settings) as connection:
        with telling("restoring cannot begin"):
            if saved.vector is not None:
                await connection.run_sync(place_vector, saved.vector)
            await connection.run_sync(prepare, settings.direct.schema, ())
            await connection.commit()
            schema = await connection.scalar(text("SELECT current_schema()"))
        if schema != saved.schema:
            raise BadSettings(f"the backup is of the schema {saved.schema}, and AGENTDB_URL names {schema}")
        await load(settings, saved.file, overwrites)


saving_of_file: Final = FileSaving  # what restores a file of which nothing is said


def saving_of(settings: Settings, path: Path | None) -> Saving:
    """Return what saves and restores a database.

    Args: path: the file of a database in memory, which the settings do not know.
    Raises: BadSettings for a database in memory that is not open.
    """
    if settings.direct.kind == "postgresql":
        return DumpSaving(settings)
    file = path or settings.target.path
    if file is None:
        raise BadSettings("a database in memory goes with its process; name a file, or PostgreSQL, by AGENTDB_URL")
    return FileSaving(settings, file)


async def keep_copy(settings: Settings, revision: str) -> Path | None:
    """Copy a database that is a file, as it is before its schema changes, and return where the copy is; else None.

    Args: revision: which the database is at; becomes part of the name.
    """
    path = settings.target.path
    if settings.target.kind != "sqlite" or path is None:
        return None
    folder = settings.folder / "backups"
    prepare_folder(folder, setting="AGENTDB_FOLDER")
    for left in folder.glob(f".{path.stem}-at-*.unfinished"):
        left.unlink(missing_ok=True)  # of a killed process: whoever migrates is alone
    kept = folder / f"{path.stem}-at-{revision}-{clock.now():%Y%m%dT%H%M%S%fZ}.sqlite"
    unfinished = kept.with_name(f".{kept.name}.unfinished")
    with telling("the copy before migrating"):
        try:
            await in_thread(lambda pace: copying.copy(path, unfinished, pace("copying pages", _nobody)))
            unfinished.rename(kept)
        finally:
            unfinished.unlink(missing_ok=True)
    return kept


class Pace:
    """Lets work on a thread tell the caller's loop how far it is, and ends it there when nobody waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended = Event()

    def __call__(self, what: str, tell: Tell) -> copying.Pages:
        """Return what the work calls now and then."""
        return partial(self._tell, what, tell)

    def _tell(self, what: str, tell: Tell, done: int, total: int) -> None:
        if self.ended.is_set():
            raise Unavailable("nobody waits for this any more")
        self._loop.call_soon_threadsafe(tell, what, done, total)


async def in_thread(work: Callable[[Pace], R]) -> R:
    """Return what blocking work returns; when the caller is cancelled, its pace tells it, and it is waited for."""
    pace = Pace()
    future = asyncio.get_running_loop().run_in_executor(None, work, pace)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        pace.ended.set()
        await asyncio.wait([future])
        raise


def in_use(path: Path) -> bool:
    """Tell whether a database that is a file has more beside it, which a copy of the file alone would lack."""
    return any(log.exists() and log.stat().st_size for log in copying.beside(path))


def _copied(file: Path, place: Path) -> None:
    place.touch(mode=0o600, exist_ok=False)  # its owner's alone from the beginning
    shutil.copyfile(file, place)


def _removed(folder: Path, names: str) -> None:
    for left in folder.glob(names):
        left.unlink()


def _nobody(_what: str, _done: int, _total: int) -> None:
    return
