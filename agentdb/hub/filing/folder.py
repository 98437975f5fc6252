"""The folder of attachments' files. All of it blocks: it is called on a thread, or for a single look at a file."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

from agentdb.errors import BadSettings, DatabaseCorrupt, Unavailable

R = TypeVar("R")

INCOMING: Final = "incoming"
BATCH: Final = 200

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PART: Final = re.compile(r"[0-9a-f]{2}")
_MARK: Final = re.compile(r"database-[0-9a-f]{32}")


def key_of(file_hash: str) -> str:
    """Return where a file lies, below the folder, by the SHA-256 of its contents in hex."""
    return f"{file_hash[:2]}/{file_hash[2:4]}/{file_hash}"


class Folder:
    """Where files lie: each by the hash of its contents, once, however many attachments have them.

    Files that are still being written lie in ``incoming``, and are renamed once they are complete and on the disk.

    Args: path: the folder, made when it is first needed; None: a private temporary one, removed by `close`.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._temporary: Path | None = None
        self._lock = Lock()
        self.durable = path is not None  # what is temporary need not survive a power cut
        self.is_taken = path is None  # for the database that has been opened with it

    @property
    def path(self) -> Path:
        """The folder."""
        if self._path is not None:
            return self._path
        with self._lock:
            if self._temporary is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="agentdb-attachments-"))
                weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
            return self._temporary

    def close(self) -> None:
        """Remove a temporary folder with all that is in it."""
        with self._lock:
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    async def let_go(self) -> None:
        """Close, on a thread where there is something to remove."""
        if self._temporary is not None:
            await in_thread(self.close)

    def make(self, folder: Path) -> None:
        """Make a folder that only its owner may enter, those above it too, unless it is there."""
        if folder.is_dir():
            return
        self.make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        self.sync(folder.parent)

    def take(self, identity: str) -> None:
        """Take the folder for a database, by an empty file whose name says which; or see that it has been.

        Whoever clears away what no row needs would otherwise remove the files of another database.

        Raises: BadSettings when the folder is another database's.
        """
        own = f"database-{identity}"
        self.make(self.path)
        first = not self._within(self.path, _MARK)
        if first:
            (self.path / own).touch(mode=0o600)
            self.sync(self.path)
        others = [mark.name for mark in self._within(self.path, _MARK) if mark.name != own]
        if others or not (self.path / own).exists():
            if first:
                (self.path / own).unlink(missing_ok=True)  # two came at once
            raise BadSettings(
                f"the folder {self.path} keeps the files of another database ({', '.join(others)});"
                " give each its own AGENTDB_FOLDER, or remove that file when its database is gone"
            )
        self.is_taken = True

    def sync(self, folder: Path) -> None:
        """Have the disk remember which files a folder has."""
        if not self.durable:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def at(self, storage_key: str, public_id: str) -> Path:
        """Return the path of a file.

        Args: public_id: of the attachment that has this key, for the message.
        Raises: DatabaseCorrupt when the key is not one that `key_of` gives: it could lead anywhere.
        """
        digest = storage_key.rpartition("/")[2]
        if _DIGEST.fullmatch(digest) is None or storage_key != key_of(digest):
            raise DatabaseCorrupt(f"the storage key of attachment {public_id} was not made by this library")
        return self.path / storage_key

    def size(self, path: Path) -> int | None:
        """Return how long a file is, or None when there is none."""
        try:
            # Opened, and not only looked up: a folder on the network shows the present state to whoever opens.
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    # Clearing away

    def older(self, than: datetime) -> Iterator[list[str]]:
        """Yield the hashes of files that were placed before a moment, in batches."""
        batch: list[str] = []
        for first in self._within(self.path, _PART):
            for second in self._within(first, _PART):
                for file in self._within(second, _DIGEST):
                    if _placed_before(file, than) and key_of(file.name) == f"{first.name}/{second.name}/{file.name}":
                        batch.append(file.name)
                        if len(batch) == BATCH:
                            yield batch
                            batch = []
        if batch:
            yield batch

    def remove(self, file_hash: str, than: datetime) -> int | None:
        """Remove a file that was placed before a moment, and return how long it was, or None when nothing was removed.

        The folder is not synced: a file that comes back after a power cut is removed again.
        """
        file = self.path / key_of(file_hash)
        if not _placed_before(file, than):
            return None
        size = file.stat().st_size
        file.unlink()
        return size

    def sweep(self, than: datetime, limit: int) -> int:
        """Remove files that stopped coming in before a moment, at most ``limit``, and return how many."""
        removed = 0
        for file in self._within(self.path / INCOMING, re.compile(r".+\.part")):
            if removed == limit:
                break
            if _placed_before(file, than):
                with suppress(FileNotFoundError):
                    file.unlink()
                    removed += 1
        return removed

    @staticmethod
    def _within(folder: Path, names: re.Pattern[str]) -> list[Path]:
        """Return what a folder has under names of a form, sorted; what else lies there is nobody's business."""
        try:
            return sorted(path for path in folder.iterdir() if names.fullmatch(path.name))
        except (FileNotFoundError, NotADirectoryError):
            return []


def _placed_before(file: Path, moment: datetime) -> bool:
    try:
        return file.stat().st_mtime < moment.timestamp()
    except FileNotFoundError:
        return False


async def in_thread(work: Callable[..., R], *arguments: object) -> R:
    """Return what blocking work on the folder returns; when the caller is cancelled, it goes on to its end.

    Raises: Unavailable when the folder cannot be used.
    """
    future = asyncio.get_running_loop().run_in_executor(None, partial(work, *arguments))
    try:
        return await asyncio.shield(future)
    except OSError as error:
        raise unusable(error) from error


def unusable(error: OSError) -> Unavailable:
    """Return our error for what the operating system said."""
    return Unavailable(f"the folder of attachments cannot be used: {error}; see AGENTDB_FOLDER")
