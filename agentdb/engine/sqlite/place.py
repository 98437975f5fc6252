"""Where a database's file is; one in memory has a private folder, which goes with it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from agentdb.engine.sqlite.connection import make_file


class Place:
    """The place of one database.

    Args:
        path: its file; None for one in memory: a file in a private temporary folder, so that readers and the writer do
            not block each other there either.
        template: for a database in memory, a file to begin as a copy of.
    """

    def __init__(self, path: Path | None, template: Path | None) -> None:
        self.in_memory = path is None
        self.path = path or Path()
        self._template = template
        self._folder: Path | None = None

    @property
    def copied(self) -> bool:
        """Whether the file begins as a copy."""
        return self.in_memory and self._template is not None

    def make(self) -> None:
        """Make the file, if there is none.

        Raises: BadSettings when it cannot be written.
        """
        if self.in_memory:
            memory = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)
            self._folder = Path(tempfile.mkdtemp(prefix="agentdb-", dir=memory if memory.is_dir() else None))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self.path = self._folder / "agentdb.db"
            if self._template is not None:
                shutil.copyfile(self._template, self.path)
        make_file(self.path)

    def clear(self) -> None:
        """Remove the folder of a database in memory: three files, which takes no thread."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
