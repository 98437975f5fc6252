"""A folder of seed files, and nothing outside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

from agentdb.errors import BadInput

LARGEST: Final = 64 * 2**20  # bytes of one file


class SeedFolder:
    """A folder of seed files. Links in it are followed as long as they stay in it.

    Args: path: the folder.
    Raises: BadInput when it is no folder.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.path = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise BadInput(f"there is no folder of seed files at {path}") from None
        if not self.path.is_dir():
            raise BadInput(f"{path} is not a folder; name the folder that holds the seed files")

    def tables(self) -> list[str]:
        """Return the names of the CSV files in the folder.

        Raises: BadInput when it cannot be read.
        """
        try:
            return sorted(file.name for file in self.path.iterdir() if file.suffix == ".csv")
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read: {_why(error)}") from None

    def read(self, name: str) -> str:
        """Return a file's text as it is.

        Args: name: its path from the folder, with slashes.
        Raises: BadInput when it is outside the folder, by whatever way, or cannot be read, or is not UTF-8.
        """
        content = self.content(name)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"the file {name} is not UTF-8 text, from byte {error.start} on") from None

    def content(self, name: str) -> bytes:
        """Return a file's bytes.

        Args and Raises: as of `read`.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or "\\" in name:
            raise BadInput(f"the file {name!r} is not within the seed folder; name it by its path from there")
        try:
            found = (self.path / path).resolve(strict=True)
            if not found.is_relative_to(self.path):
                raise BadInput(f"the file {name!r} leads out of the seed folder; put a copy into it")
            return self._opened(found.relative_to(self.path), name)
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInput(f"the file {name!r} cannot be read: {_why(error)}") from None

    def _opened(self, path: Path, name: str) -> bytes:
        """Return what a resolved path holds: no link is followed any more, whatever became of it meanwhile."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in path.parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            # A pipe would wait for a writer.
            descriptor = os.open(path.name or ".", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        with os.fdopen(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise BadInput(f"{name!r} is not a file")
            if state.st_size > LARGEST:
                raise BadInput(f"the file {name!r} has {state.st_size} bytes, more than {LARGEST}")
            return file.read(LARGEST)


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
