"""A database file that another program made, read and never written. All of it blocks: it is called on a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from agentdb.errors import BadInput, DatabaseCorrupt, Unavailable

_PATIENCE_SECONDS: Final = 10.0


class ForeignFile:
    """A file, as it is at one moment: whoever writes it meanwhile is not seen.

    A file in rollback mode keeps its writers waiting for as long as it is open here.

    Args:
        path: of the file.
        what: what it should be, as messages call it.
        tables: the columns that are read, by table; the first ones of each are its key.
    """

    def __init__(self, path: Path, what: str, tables: Mapping[str, Sequence[str]]) -> None:
        self.path = path
        self._what = what
        self.tables = tables
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, and see that it is sound and what it should be.

        Raises: BadInput when it is not there or is something else; DatabaseCorrupt when it is damaged.
        """
        if not self.path.is_file():
            raise BadInput(f"there is no file {self.path}")
        try:
            self._begin("mode=ro")
        except sqlite3.OperationalError as error:
            # Where nothing may be written beside it, a file in WAL mode opens only if nothing is left beside it.
            left = self.path.with_name(f"{self.path.name}-wal")
            if error.sqlite_errorname not in {"SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY"} or left.exists():
                raise self._told(error) from None
            try:
                self._begin("mode=ro&immutable=1")
            except sqlite3.Error as second:
                raise self._told(second) from None
        except sqlite3.Error as error:
            raise self._told(error) from None
        self._examine()

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self._read(f"SELECT count(*) FROM {_quoted(table)}", ())[0][0])

    def page(self, table: str, keys: int, after: Sequence[Any] | None, limit: int) -> list[dict[str, Any]]:
        """Return the next rows of a table by its key.

        Args: keys: how many columns the key has.
        """
        columns = self.tables[table]
        key = ", ".join(map(_quoted, columns[:keys]))
        beyond = "" if after is None else f" WHERE ({key}) > ({', '.join('?' * keys)})"
        names = ", ".join(map(_quoted, columns))
        text = f"SELECT {names} FROM {_quoted(table)}{beyond} ORDER BY {key} LIMIT ?"
        return [dict(zip(columns, row, strict=True)) for row in self._read(text, (*(after or ()), limit))]

    def having(self, table: str, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the rows of a table that have one of some values in a column, by the table's first column."""
        columns = self.tables[table]
        names = ", ".join(map(_quoted, columns))
        marks = ", ".join("?" * len(values))
        text = (
            f"SELECT {names} FROM {_quoted(table)} WHERE {_quoted(column)} IN ({marks}) ORDER BY {_quoted(columns[0])}"
        )
        return [dict(zip(columns, row, strict=True)) for row in self._read(text, values)]

    def _begin(self, mode: str) -> None:
        self.close()
        uri = f"file:{quote(str(self.path.absolute()))}?{mode}"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_SECONDS
        )
        self._connection = connection
        # What is no UTF-8 is shown as such, and goes in like any other text.
        connection.text_factory = lambda content: content.decode(errors="replace")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def _examine(self) -> None:
        found = self._read("PRAGMA quick_check(1)", ())[0][0]
        if found != "ok":
            raise DatabaseCorrupt(f"{self.path} is damaged: {found}; recover it, or take a backup of it")
        for table, columns in self.tables.items():
            there = {row[1] for row in self._read(f"PRAGMA table_info({_quoted(table)})", ())}
            if not there:
                raise BadInput(f"{self.path} is not {self._what}: it has no table {table}")
            missing = [column for column in columns if column not in there]
            if missing:
                raise BadInput(
                    f"{self.path} is {self._what} of another version: {table} has no {', '.join(missing)};"
                    " let its newest version start once, which brings it up to date"
                )

    def _read(self, text: str, values: Sequence[Any]) -> list[Any]:
        if self._connection is None:
            raise Unavailable(f"{self.path} is not open")
        try:
            return self._connection.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise self._told(error) from None

    def _told(self, error: sqlite3.Error) -> Exception:
        self.close()
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_NOTADB"):
            return BadInput(f"{self.path} is not {self._what}: it is no database file")
        if name.startswith("SQLITE_CORRUPT"):
            return DatabaseCorrupt(f"{self.path} is damaged; recover it, or take a backup of it")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable(f"{self.path} is being written; stop what uses it, and try again")
        return Unavailable(f"{self.path} cannot be read: {error}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
