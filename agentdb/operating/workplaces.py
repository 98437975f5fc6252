"""Folders for what is not finished: one process has each, and what a killed one leaves is cleared away by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agentdb.config import prepare_folder
from agentdb.errors import Unavailable

UNFINISHED: Final = ".unfinished-"


@contextmanager
def workplace(path: Path, *, setting: str) -> Iterator[Path]:
    """Make a folder of our own, empty, and remove it with the block; if it was renamed, it stays.

    Args:
        path: where, in a folder that is there.
        setting: what named the place, for the message.

    Raises: Unavailable while another process works there; BadSettings when it cannot be made.
    """
    with _alone(path.parent):
        prepare_folder(path, setting=setting)
        lock = _lock(path)
    if lock is None:
        raise Unavailable(f"another process works in {path}; wait until it has ended")
    try:
        for left in path.iterdir():
            _remove(left)
        yield path
    finally:
        with _alone(path.parent):
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def sweep(folder: Path) -> None:
    """Remove the unfinished folders in a folder that nobody works in any more."""
    with _alone(folder):
        for path in folder.glob(f"{UNFINISHED}*"):
            with suppress(FileNotFoundError):  # finished, and renamed, at this moment
                lock = _lock(path)
                if lock is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(lock)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let nobody else make or remove workplaces in a folder: one that was made, and not yet locked, could go."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
