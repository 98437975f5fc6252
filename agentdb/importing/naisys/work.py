"""What all parts of an import share: the database, the files, who became whom, and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.connection import Connection, Script, Work, each
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput
from agentdb.importing.naisys.marks import Marks, turn
from agentdb.importing.naisys.report import NaisysReport
from agentdb.importing.naisys.source import ROWS, Row, Source

R = TypeVar("R")

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told the table, how many of its rows are done, and how many there are."""


@dataclass(slots=True)
class Importing:
    """An import under way."""

    database: Database
    hub: Source
    supervisor: Source | None
    marks: Marks
    timezone: str
    files: Path | None
    report: NaisysReport
    progress: Progress
    users: dict[int, int] = field(default_factory=dict)  # of the hub, to ours
    names: dict[int, str] = field(default_factory=dict)  # of the hub's users, there
    uuids: dict[int, UUID] = field(default_factory=dict)  # of the hub's users
    accounts: dict[int, int] = field(default_factory=dict)  # of the supervisor, to ours
    by_uuid: dict[str, int] = field(default_factory=dict)  # the UUID as the source writes it, to our user
    hosts: dict[int, int] = field(default_factory=dict)
    runs: dict[tuple[int, int], int] = field(default_factory=dict)  # the hub's user and run, to our run
    attachments: dict[int, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)  # by key

    @property
    def connection(self) -> Connection:
        """The database itself."""
        return self.database.hub.connection

    async def write(self, work: Work[R]) -> R:
        """Run a script in one transaction, again when others are in its way."""
        return await self.database.run(lambda unit: unit.hub.connection.run(work))

    def carried(self, table: str, rows: Sequence[Row], convert: Callable[[Row], R], key: str = "id") -> list[R]:
        """Return rows as ours; what cannot be carried is told."""
        found = []
        for row in rows:
            try:
                found.append(convert(row))
            except BadInput as error:
                self.report.leave(table, row[key], error)
        return found

    async def add_unless_there(
        self, table: str, model: type[Entity], on: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add rows that have a key of their own, some at a time."""
        for first in range(0, len(rows), ROWS):
            some = rows[first : first + ROWS]
            stored = await self.write(partial(_unless_there, model, on, some))
            imported = sum(1 for row in stored if row is not None)
            self.report.stored(table, imported, len(some) - imported)

    async def follow(self, table: str, batch: Callable[[list[Row]], Any], store: Callable[[Any], Script[R]]) -> list[R]:
        """Bring the rows of a table that come behind its last mark, batch after batch.

        Args:
            table: whose key is a rising number.
            batch: makes of rows what is to be stored, before the transaction.
            store: makes the script that stores it.
        """
        after = await self.marks.until(self.connection, table)
        total, done, results = await self.hub.count(table), 0, []
        while rows := await self.hub.page(table, after=after):
            told = self.report.of(table).left, len(self.report.problems), self.report.problems_untold
            prepared = await batch(rows)
            until = rows[-1]["id"]
            result = await self.write(
                lambda after=after, until=until, prepared=prepared: self.marks.batch(  # type: ignore[misc]
                    table, after, until, lambda: store(prepared)
                )
            )
            if result is None:  # another import was here
                self.report.of(table).left = told[0]
                del self.report.problems[told[1] :]
                self.report.problems_untold = told[2]
                after = await self.marks.until(self.connection, table)
                continue
            results.append(result)
            after = until
            done += len(rows)
            self.progress(table, done, total)
        self.report.of(table).present += max(total - done, 0)
        return results


def _unless_there(
    model: type[Entity], on: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
) -> Script[list[Entity | None]]:
    yield from turn()
    return (yield from each(insert_unless_there(model, on), rows))
