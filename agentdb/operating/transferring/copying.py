"""One table, read from one side and written to the other; its digest is made of the rows as they pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from sqlalchemy import Column, Table

from agentdb.engine.moving import Orphans, Row, Side, applied, canonicals, converters
from agentdb.engine.schema.renumbering import numbered
from agentdb.operating.digests import Summing, TableDigest, kept_of

Tell = Callable[[int], None]


def carried(table: Table) -> list[Column[Any]]:
    """Return the columns whose values are moved: numbers of transactions are each database's own."""
    own = {column.name for column in numbered(table)}
    return sorted((column for column in table.columns if column.name not in own), key=lambda column: column.name)


async def copy(source: Side, target: Side, table: Table, orphans: Orphans, *, bulk: bool, tell: Tell) -> TableDigest:
    """Write a table's rows to a target that is open for them, and return the digest of what was read.

    Args:
        source: where it is read.
        target: where it is written.
        table: which.
        orphans: which rows are left out, and what others lose.
        bulk: whether there are many rows.
        tell: is told how many more rows are done.
    """
    columns = carried(table)
    reading = _Reading(source, table, columns, orphans)
    convert = converters(columns, reading.kind, target.connection.dialect.name)
    await target.open(table, bulk=bulk)
    async with aclosing(ahead(reading.batches())) as batches:
        async for rows in batches:
            await target.write(table, columns, applied(convert, rows))
            reading.sum(rows)
            tell(len(rows))
    return reading.digest


async def digest(side: Side, table: Table, orphans: Orphans, tell: Tell) -> TableDigest:
    """Return the digest of a table as a side has it, without what is left out."""
    reading = _Reading(side, table, carried(table), orphans)
    async with aclosing(ahead(reading.batches())) as batches:
        async for rows in batches:
            reading.sum(rows)
            tell(len(rows))
    return reading.digest


class _Reading:
    def __init__(self, side: Side, table: Table, columns: Sequence[Column[Any]], orphans: Orphans) -> None:
        self.kind = side.connection.dialect.name
        self._side = side
        self._table = table
        self._columns = columns
        self._orphans = orphans
        kept = set(kept_of(table, table.name, [column.name for column in columns]))
        self._kept = [place for place, column in enumerate(columns) if column.name in kept]
        self._canonicals = canonicals(columns, self.kind)
        self._summing = Summing()

    async def batches(self) -> AsyncIterator[Sequence[Row]]:
        numbered = self._orphans.concern(self._table.name)
        async for rows in self._side.rows(self._table, self._columns, numbered=numbered):
            yield self._mended(rows) if numbered else rows

    def sum(self, rows: Sequence[Row]) -> None:
        found = applied(self._canonicals, rows)
        if len(self._kept) < len(self._columns):
            found = [[row[place] for place in self._kept] for row in found]
        self._summing.add(found)

    @property
    def digest(self) -> TableDigest:
        return self._summing.digest

    def _mended(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that are moved, with no reference that leads nowhere, and without their rowids."""
        name = self._table.name
        gone = self._orphans.left_out.get(name, ())
        nulled = [
            (place, rowids)
            for place, column in enumerate(self._columns)
            if (rowids := self._orphans.nulled.get((name, column.name)))
        ]
        mended: list[Row] = []
        for *values, rowid in rows:
            if rowid not in gone:
                for place, rowids in nulled:
                    if rowid in rowids:
                        values[place] = None
                mended.append(values)
        return mended


async def ahead(batches: AsyncIterator[Sequence[Row]]) -> AsyncGenerator[Sequence[Row], None]:
    """Yield batches, of which the next is being read already."""
    reading = asyncio.ensure_future(anext(batches, None))
    try:
        while rows := await reading:
            reading = asyncio.ensure_future(anext(batches, None))
            yield rows
    finally:
        reading.cancel()
        await asyncio.wait([reading])
