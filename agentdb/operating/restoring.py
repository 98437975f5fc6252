"""Restoring: a backup in the place of a database, wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from agentdb import migrating
from agentdb.config import Settings, prepare_folder
from agentdb.engine.choice import serving
from agentdb.engine.looking import looking
from agentdb.engine.saving import Check, Saved, in_thread, in_use, saving_of, saving_of_file
from agentdb.engine.schema.catalog import UNDESCRIBED
from agentdb.engine.schema.history import newer
from agentdb.errors import BadInput, BadSettings, Conflict, DatabaseCorrupt, Unavailable
from agentdb.models import tables
from agentdb.operating import files, manifest
from agentdb.operating.backups import require_equal
from agentdb.operating.contents import Contents, StoredFile, contents_of
from agentdb.operating.digests import OnProgress, nobody
from agentdb.operating.manifest import Manifest
from agentdb.operating.workplaces import workplace

OURS: Final = frozenset({*tables, UNDESCRIBED})


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored."""

    revision: str  # of the schema in the backup
    now_at: str  # the revision it was brought to
    tables: int
    rows: int
    keys: list[str]  # the ids of the encryption keys that are needed
    files: int  # of attachments, which were not there already
    missing: list[StoredFile]  # which the backup lacks
    moved_aside: Path | None  # the database that was there, when it could not be read


async def restore(
    path: Path, settings: Settings, *, force: bool = False, on_progress: OnProgress | None = None
) -> Restored:
    """Put a backup in the place of the database that settings name, and bring its schema up to date.

    The database changes in one transaction, or is put in its place by one step: whenever this ends, it is the one or
    the other. It may be run again. Files of attachments are put beside those that are there, before the database
    changes; who runs it stops the services that use the database.

    Args:
        path: the folder of a backup, or a copy that AGENTDB_BACKUP_BEFORE_MIGRATE made.
        settings: which database; of the same kind.
        force: overwrite what is there.
        on_progress: is told how far it is.

    Raises:
        BadInput: there is no backup, or it is of another kind of database.
        BadSettings: the folder of attachments, or the schema, is another's.
        Conflict: there is a database, and it is not to be overwritten.
        DatabaseCorrupt: the backup is damaged.
        SchemaMismatch: the backup is newer than this code.
        Unavailable: the disk is full, another restores to the same place, or a program failed.
    """
    tell = on_progress or nobody
    try:
        source = await in_thread(lambda _: _Source.of(path))
        async with serving(settings) as served:
            return await _Restoration(source, served, settings.attachments, tell).run(force=force)
    except OSError as error:
        raise Unavailable(f"the backup {path} cannot be restored: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Source:
    """What is restored: a backup, or the copy of a file, of which nothing is said."""

    folder: Path
    file: Path
    kind: str
    manifest: Manifest | None

    @classmethod
    def of(cls, path: Path) -> _Source:
        if path.is_file() and path.name != manifest.NAME:
            if in_use(path):
                raise BadInput(f"the file {path} is a database in use; make a backup of it with `agentdb backup`")
            return cls(path.parent, path, saving_of_file.kind, None)
        folder = path.parent if path.name == manifest.NAME else path
        said = manifest.read(folder)
        return cls(folder, folder / Path(said.file).name, said.kind, said)

    @property
    def contents(self) -> Contents | None:
        return None if self.manifest is None else self.manifest.contents

    @property
    def saved(self) -> Saved:
        said = self.contents
        if said is None:
            return Saved(self.file, None, frozenset())
        return Saved(self.file, said.schema, frozenset(said.tables), said.vector)

    @property
    def files(self) -> list[StoredFile]:
        """The files of attachments that the backup has."""
        if self.manifest is None:
            return []
        missing = set(self.manifest.missing)
        return [file for file in self.manifest.contents.files if file not in missing]

    def examine(self, tell: Callable[[int, int], None]) -> None:
        """See that the backup is as it was made.

        Raises: DatabaseCorrupt.
        """
        if self.manifest is None:
            return
        if not self.file.exists() or files.digest(self.file) != self.manifest.sha256:
            raise DatabaseCorrupt(f"the backup {self.folder} is damaged: {self.file.name} is not what was saved")
        wrong = files.damaged(self.files, self.folder / files.NAME, tell)
        if wrong:
            raise DatabaseCorrupt(
                f"the backup {self.folder} is damaged: {len(wrong)} files of attachments are not what was saved,"
                f" such as {wrong[0].sha256}"
            )


class _Restoration:
    def __init__(self, source: _Source, settings: Settings, attachments: Path | None, tell: OnProgress) -> None:
        self._source = source
        self._settings = settings
        self._attachments = attachments
        self._tell = tell
        self._saving = saving_of(settings, None)
        self._found: Contents | None = None
        self._now_at = ""

    async def run(self, *, force: bool) -> Restored:
        self._refuse_what_cannot_be()
        source, saving, tell = self._source, self._saving, self._tell
        tell("checking the backup", 0, 0)
        await in_thread(lambda pace: source.examine(pace("checking files", tell)))
        prepare_folder(saving.beside.parent, setting="the folder of the database")
        with workplace(saving.beside, setting="the folder of the database") as place:
            ours = OURS | source.saved.tables
            there = await saving.occupied(ours)
            if there is not None and not force:
                raise Conflict(f"{there} is there already; overwrite it with --force, or name another by AGENTDB_URL")
            self._refuse_files_of_another(force=force)
            placed = await self._put_files_back()
            check: Check = self._check
            aside = await saving.restore(source.saved, place, check, tell, ours if force else ())
        found = self._found
        if found is None:
            raise DatabaseCorrupt("what was restored was not looked at")
        self._take_folder(found.identity, force=force)
        tell("finished", 1, 1)
        missing = source.manifest.missing if source.manifest else found.files
        return Restored(found.revision, self._now_at, len(found.tables), found.rows, found.keys, placed, missing, aside)

    def _refuse_what_cannot_be(self) -> None:
        if self._source.kind != self._saving.kind:
            raise BadInput(
                f"the backup is of a {self._source.kind} database, and {self._settings.target.display} is none;"
                " restore it to one of its kind"
            )
        said = self._source.contents
        if said is not None and said.version > migrating.head():
            raise newer(said.version, migrating.head())

    def _take_folder(self, identity: str | None, *, force: bool) -> None:
        """Make the folder of attachments the restored database's own, where it is not another's."""
        if self._attachments is None or identity is None:
            return
        others = self._others() - {identity}
        if (self._source.files or others) and (force or not others):
            files.give(self._attachments, identity)

    def _others(self) -> set[str]:
        return set() if self._attachments is None else files.owners(self._attachments)

    def _refuse_files_of_another(self, *, force: bool) -> None:
        said = self._source.contents
        others = self._others() - {said.identity if said else None}
        if said is not None and others and not force:
            raise BadSettings(
                f"the folder {self._attachments} keeps the files of another database; give each its own"
                " AGENTDB_FOLDER, or make it this one's with --force"
            )

    async def _put_files_back(self) -> int:
        put = partial(files.put_back, self._source.files, self._source.folder / files.NAME)
        target = self._attachments
        if not self._source.files or target is None:
            return 0
        return await in_thread(lambda pace: put(target, pace("restoring files", self._tell)))

    async def _check(self, restored: Settings) -> None:
        """Compare what was restored with what was saved, and bring its schema up to date."""
        async with looking(restored) as connection:
            self._found = await contents_of(
                connection, lambda _, done, total: self._tell("verifying rows", done, total)
            )
        if self._source.contents is not None:
            require_equal(self._found, self._source.contents)
        self._tell("migrating", 0, 0)
        report = await migrating.upgrade(restored)
        self._now_at = report.after or ""
