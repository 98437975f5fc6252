"""Copies of a database file, and a database file replaced by another. All of it blocks: it is called on a thread."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from agentdb.engine.disk import sync
from agentdb.engine.sqlite.connection import make_file
from agentdb.engine.sqlite.errors import translate
from agentdb.errors import AgentDBError, Contended, DatabaseCorrupt

PAGES: Final = 2000  # 8 MB between two looks at the progress
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED: Final = {"SQLITE_NOTADB", "SQLITE_CORRUPT"}

Pages = Callable[[int, int], None]
"""Told how many pages are copied, and of how many; what it raises ends the copy."""


def copy(source: Path, target: Path, tell: Pages) -> None:
    """Copy a database while others write it, as it is at one moment: one file, complete and on the disk.

    One read transaction lasts as long as the copy: without it, each write of another process would begin the copy anew.

    Args: target: a file that is not there.
    Raises: DatabaseCorrupt, Unavailable.
    """
    make_file(target)
    try:
        with closing(_opened(source)) as read, closing(sqlite3.connect(target, isolation_level=None)) as written:
            written.execute("PRAGMA synchronous = OFF")
            written.execute("PRAGMA journal_mode = OFF")
            read.execute("BEGIN")
            read.execute("SELECT count(*) FROM sqlite_master").fetchone()
            read.backup(written, pages=PAGES, progress=lambda _status, left, total: tell(total - left, total))
        with closing(_opened(target)) as written:
            written.execute("PRAGMA journal_mode = DELETE")  # a file alone, that can be read from anywhere
    except sqlite3.Error as error:
        raise _told(error, source) from error
    sync(target)
    sync(target.parent)


def examine(path: Path) -> None:
    """See that a file is a database whose pages, indexes and references are sound.

    Raises: DatabaseCorrupt.
    """
    try:
        with closing(_opened(path)) as database:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            broken = database.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        raise _told(error, path) from error
    if found != "ok":
        raise DatabaseCorrupt(f"the database file {path} is damaged: {found}")
    if broken is not None:
        raise DatabaseCorrupt(f"the database file {path} has rows of {broken[0]} that refer to no row of {broken[2]}")


def replace(path: Path, by: Path, *, overwrite: bool, patience: float, tell: Pages) -> Path | None:
    """Put a database in the place of another, wholly or not at all, whenever this process ends.

    A database that is there is overwritten in one transaction of its own, since whoever has it open would go on with a
    file that is moved away. One that cannot be read is moved aside.

    Args:
        path: the place.
        by: a closed file of the same file system, which is not needed any more.
        overwrite: whether there may be a database.
        patience: how many seconds to wait for a process that writes.
        tell: see `Pages`.

    Returns: where a damaged file was moved to.
    Raises: FileExistsError, unless it may be overwritten; Contended.
    """
    sync(by)
    if not path.exists():
        _place(path, by)
        return None
    if not overwrite and path.stat().st_size:
        raise FileExistsError(path)
    try:
        with closing(_opened(by)) as read, closing(_opened(path)) as written:
            written.execute("PRAGMA busy_timeout = 100")
            written.execute("PRAGMA journal_mode").fetchone()
            read.backup(written, pages=PAGES, progress=_Patience(patience, path, tell))
            written.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(tuple(_DAMAGED)):
            aside = _move_aside(path)
            _place(path, by)
            return aside
        raise _told(error, path) from error
    return None


class _Patience:
    """Ends a copy that another process's write keeps waiting for too long: by itself it would wait forever."""

    def __init__(self, seconds: float, path: Path, tell: Pages) -> None:
        self._seconds = seconds
        self._path = path
        self._tell = tell
        self._since = time.monotonic()

    def __call__(self, status: int, left: int, total: int) -> None:
        if status not in _BUSY:
            self._since = time.monotonic()
            self._tell(total - left, total)
        elif time.monotonic() - self._since > self._seconds:
            raise Contended(f"the database file {self._path} is being written; stop what uses it, and try again")


def _opened(path: Path) -> sqlite3.Connection:
    """Open a file that is there; a path that leads nowhere would become an empty database."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _place(path: Path, by: Path) -> None:
    """Give a file its place, which nobody else has taken meanwhile."""
    for left in beside(path):
        left.unlink(missing_ok=True)  # of a database that is gone: it would be taken for this one's
    os.link(by, path)
    sync(path.parent)


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    for left in beside(path):
        if left.exists():
            left.rename(left.with_name(f"{aside.name}{left.name.removeprefix(path.name)}"))
    return aside


def beside(path: Path) -> list[Path]:
    """Return what a database has beside it while it is in use."""
    return [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", "-journal")]


def _told(error: sqlite3.Error, path: Path) -> AgentDBError:
    found = translate(error)
    return type(found)(f"the database file {path}: {found}")
