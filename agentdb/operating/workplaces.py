"""Folders for what is not finished: one process has each, and what a killed one leaves is cleared away by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agentdb.config import prepare_folder
from agentdb.errors import Unavailable

UNFINISHED: Final = ".unfinished-"


@contextmanager
def workplace(path: Path, *, setting: str) -> Iterator[Path]:
    """Make a folder of our own, empty, and remove it with the block; if it was renamed, it stays.

    Args: setting: what named the place, for the message.
    Raises: Unavailable while another process works there; BadSettings when it cannot be made.
    """
    lock = _taken(path, setting)
    while lock is None:
        lock = _taken(path, setting)
    try:
        for left in path.iterdir():
            _remove(left)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(folder: Path) -> None:
    """Remove the unfinished folders in a folder that nobody works in any more."""
    for path in folder.glob(f"{UNFINISHED}*"):
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _taken(path: Path, setting: str) -> int | None:
    """Return the lock of a folder; None when somebody cleared it away before it was locked."""
    prepare_folder(path, setting=setting)
    lock = _lock(path)
    if lock is None:
        raise Unavailable(f"another process works in {path}; wait until it has ended")
    try:
        if os.path.samestat(path.stat(), os.fstat(lock)):
            return lock
    except FileNotFoundError:
        pass
    os.close(lock)
    return None


def _lock(path: Path) -> int | None:
    """Return an open folder, locked; None while another process has it. The lock ends with the process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
