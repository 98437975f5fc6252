"""The files of attachments, into a backup and out of it. All of it blocks: it is called on a thread."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from agentdb.engine.disk import sync
from agentdb.errors import Unavailable
from agentdb.hub.filing.folder import INCOMING, key_of
from agentdb.operating.contents import StoredFile

NAME: Final = "attachments"  # in a backup
_MARK: Final = "database-"
_NO_FILE: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)  # whatever is in its place

Done: TypeAlias = Callable[[int, int], None]
"""Told how many files are done, and of how many; what it raises ends the work."""


def gather(files: Sequence[StoredFile], source: Path, target: Path, tell: Done) -> list[StoredFile]:
    """Put files into a backup, and return those that are not there, or are not what they were.

    A file is linked where that is possible: the library never changes one, it only removes it.
    """
    missing = []
    for number, file in enumerate(files, 1):
        place = target / key_of(file.sha256)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _link_or_copy(source / key_of(file.sha256), place)
        except _NO_FILE:
            missing.append(file)
        else:
            if not is_sound(place, file):
                place.unlink()
                missing.append(file)
        tell(number, len(files))
    for folder, _, _ in os.walk(target):
        sync(Path(folder))
    return missing


def damaged(files: Sequence[StoredFile], folder: Path, tell: Done) -> list[StoredFile]:
    """Return those files of a backup that are not there, or are not what they were."""
    found = []
    for number, file in enumerate(files, 1):
        if not is_sound(folder / key_of(file.sha256), file):
            found.append(file)
        tell(number, len(files))
    return found


def put_back(files: Sequence[StoredFile], source: Path, target: Path, tell: Done) -> int:
    """Put a backup's files where attachments lie, beside those that are there, and return how many were not.

    They are copied, and have the time of now, as have those that were there: a database that does not know them, and is
    still in use, clears away only what is old.
    """
    incoming = target / INCOMING
    incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
    placed = 0
    for number, file in enumerate(files, 1):
        place = target / key_of(file.sha256)
        if is_sound(place, file):
            os.utime(place)
        else:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = incoming / f"{file.sha256}.restored.part"
            shutil.copyfile(source / key_of(file.sha256), part)
            part.chmod(0o600)
            sync(part)
            part.replace(place)
            sync(place.parent)
            placed += 1
        tell(number, len(files))
    return placed


def owners(folder: Path) -> set[str]:
    """Return the identities of the databases that a folder of attachments says it belongs to."""
    return {mark.name.removeprefix(_MARK) for mark in folder.glob(f"{_MARK}*")}


def give(folder: Path, identity: str) -> None:
    """Make a folder of attachments a database's own."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / f"{_MARK}{identity}").touch(mode=0o600)
    for other in owners(folder) - {identity}:
        (folder / f"{_MARK}{other}").unlink(missing_ok=True)
    sync(folder)


def is_sound(path: Path, file: StoredFile) -> bool:
    """Tell whether a file is there, and is what it was."""
    try:
        return path.stat().st_size == file.size and digest(path) == file.sha256
    except _NO_FILE:
        return False


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except _NO_FILE:
        raise
    except OSError:  # another file system, or one without links
        if not os.access(source, os.R_OK):  # which is no fault of where it is copied to
            raise Unavailable(f"the file {source} may not be read; run it as the user whose files they are") from None
        shutil.copyfile(source, target)
        target.chmod(0o600)
        sync(target)
