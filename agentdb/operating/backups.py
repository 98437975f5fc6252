"""Backups: a whole database in a folder, verified, while others read and write it.

    agentdb-20260131T120000000000Z/
        database.sqlite or database.dump
        attachments/
        manifest.json

It is made under another name, which says that it is unfinished, and gets its own when it is complete and on the disk: a
backup that is there is whole. What a killed process leaves is cleared away by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agentdb import clock
from agentdb.config import Settings, prepare_folder
from agentdb.database import Database
from agentdb.engine.choice import serving
from agentdb.engine.disk import sync
from agentdb.engine.looking import looking
from agentdb.engine.saving import Saved, Saving, in_thread, saving_of
from agentdb.errors import DatabaseCorrupt, Unavailable
from agentdb.operating import files, manifest
from agentdb.operating.contents import Contents, contents_of
from agentdb.operating.digests import OnProgress, nobody
from agentdb.operating.manifest import Manifest
from agentdb.operating.workplaces import UNFINISHED, sweep, workplace

FOLDER = "backups"  # in the settings' folder


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made."""

    path: Path
    manifest: Manifest


async def backup(
    of: Database | Settings, folder: Path | None = None, *, verify: bool = True, on_progress: OnProgress | None = None
) -> Backup:
    """Save a database and the files of its attachments, and return where they are.

    The database is that of one moment; who writes meanwhile does not wait. Then it is restored to a scratch database,
    and compared with what was saved, row by row. A file that is missing is told by the manifest, and is no error.

    Args:
        of: an open database, as one in memory has to be, or the settings that name one.
        folder: in which the backup gets a folder of its own; None: ``backups`` in the settings' folder.
        verify: False leaves out the scratch database, for which PostgreSQL's user needs CREATEDB.
        on_progress: is told how far it is.

    Raises:
        BadSettings: the programs of PostgreSQL are missing or too old, or the scratch database may not be made.
        DatabaseCorrupt: the database is damaged, or the backup does not hold what the database does.
        Unavailable: the disk is full, or a program failed.
    """
    tell = on_progress or nobody
    settings = of if isinstance(of, Settings) else of.settings
    path, attachments = (None, settings.attachments) if of is settings else _places(of)
    within = (folder or settings.folder / FOLDER).absolute()
    prepare_folder(within, setting="the folder of backups")
    sweep(within)
    taken_at = clock.now()
    name = f"agentdb-{taken_at:%Y%m%dT%H%M%S%fZ}"
    with workplace(within / f"{UNFINISHED}{name}", setting="the folder of backups") as place:
        try:
            async with serving(settings) as served:
                saving = saving_of(served, path)
                file = place / saving.file
                async with saving.saving(file, tell) as connection:
                    contents = await contents_of(connection, tell)
                digest = await in_thread(lambda _: files.digest(file))
                missing = []
                if attachments is not None:
                    gather = partial(files.gather, contents.files, attachments, place / files.NAME)
                    missing = await in_thread(lambda pace: gather(pace("saving files", tell)))
                if verify:
                    await _verify(saving, file, contents, place, tell)
            size = file.stat().st_size
            made = Manifest(
                manifest.FORMAT, _version(), taken_at, saving.kind, saving.file, size, digest, contents, missing, verify
            )
            tell("finishing", 0, 0)
            await in_thread(lambda _: _finish(place, within / name, made, file))
        except OSError as error:
            raise Unavailable(f"the backup cannot be written to {within}: {error.strerror or error}") from error
    tell("finished", 1, 1)
    return Backup(within / name, made)


def _places(database: Database | Settings) -> tuple[Path | None, Path | None]:
    """Return an open database's file, and the folder of its attachments."""
    if isinstance(database, Settings):
        return None, database.attachments
    return database.path, database.attachments


async def _verify(saving: Saving, file: Path, contents: Contents, place: Path, tell: OnProgress) -> None:
    tell("restoring to a scratch database", 0, 0)
    saved = Saved(file, contents.schema, frozenset(contents.tables), contents.vector)
    async with saving.scratch(saved, place) as scratch, looking(scratch) as connection:
        found = await contents_of(connection, lambda _, done, total: tell("verifying rows", done, total))
    require_equal(found, contents)
    if found.described != contents.described:
        raise DatabaseCorrupt("what was restored has the rows that were saved, and another schema")


def require_equal(found: Contents, expected: Contents) -> None:
    """See that a restored database holds what was saved.

    Raises: DatabaseCorrupt naming the tables.
    """
    wrong = [
        f"{name} ({_counted(found, name)} rows, {_counted(expected, name)} expected)"
        for name in sorted({*found.tables, *expected.tables})
        if found.tables.get(name) != expected.tables.get(name)
    ]
    if wrong:
        raise DatabaseCorrupt(f"what was restored is not what was saved: {', '.join(wrong)}")


def _counted(contents: Contents, name: str) -> int:
    digest = contents.tables.get(name)
    return 0 if digest is None else digest.rows


def _finish(place: Path, final: Path, made: Manifest, file: Path) -> None:
    sync(file)
    made.write(place)
    place.rename(final)
    sync(final.parent)


def _version() -> str:
    try:
        return version("agentdb")
    except PackageNotFoundError:
        return "unknown"
