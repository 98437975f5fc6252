"""Digests of tables: two databases of either kind hold the same rows when their digests are equal.

A row's digest is BLAKE2b over its canonical values (`agentdb.engine.canonical`) in the order of the columns' names; a
table's is the sum of its rows' digests, so that the order they are read in does not matter. It tells damage and loss,
not forgery. What each database counts for itself is left out: numbers of transactions, and of changes to vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Column, Table, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.canonical import canonical
from agentdb.engine.choice import serving
from agentdb.engine.looking import looking
from agentdb.engine.schema.catalog import describe
from agentdb.engine.schema.direct import telling
from agentdb.engine.schema.renumbering import numbered
from agentdb.errors import NotFound

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much; 0: it is not known."""

ROWS: Final = 1000  # fetched at once: some ten milliseconds
_LENGTH: Final = 32
# Counted by one kind of database alone, for its readers: see `agentdb.engine.schema.vectors`.
_BOOKKEEPING: Final = {"vector_collections": {"revision"}}
_encode: Final = msgspec.msgpack.Encoder(enc_hook=str).encode


@dataclass(frozen=True, slots=True)
class TableDigest:
    """How many rows a table has, and what they are."""

    rows: int
    digest: str  # 64 characters of hex


async def table_digests(
    database: Database, tables: Collection[str] | None = None, *, on_progress: OnProgress | None = None
) -> dict[str, TableDigest]:
    """Return the digest of each table, all of one moment, while others read and write.

    Args:
        database: an open one.
        tables: names; None: all tables beside it, those of others too.
        on_progress: is told of each thousand rows.

    Raises: NotFound for a table that is not there.
    Cost: one scan of each table, some ten microseconds a row, over a connection of its own.
    """
    async with serving(database.settings) as settings, looking(settings, database.path) as connection:
        return await digests_of(connection, tables, on_progress=on_progress)


async def digests_of(
    connection: AsyncConnection, tables: Collection[str] | None = None, *, on_progress: OnProgress | None = None
) -> dict[str, TableDigest]:
    """Return the digest of each table, as this connection sees it.

    Args and Raises: as of `table_digests`; a schema older than the models is read as it is.
    """
    with telling("reading the tables"):
        columns = await columns_of(connection)
        names = sorted(columns if tables is None else tables)
        for missing in (name for name in names if name not in columns):
            raise NotFound(f"there is no table {missing}; run `agentdb migrate`, or leave it out")
        tell = on_progress or nobody
        total = 0
        for name in names if on_progress is not None else ():  # nobody asks how many there are to come
            total += await connection.scalar(select(func.count()).select_from(table(name))) or 0
        digests: dict[str, TableDigest] = {}
        done = 0
        for name in names:
            digests[name] = await _digest(connection, name, columns[name], _onwards(tell, done, total))
            done += digests[name].rows
        return digests


async def columns_of(connection: AsyncConnection) -> Mapping[str, list[str]]:
    """Return the tables that are there, and the names of each one's columns; Alembic's own is not among them."""
    columns: dict[str, list[str]] = defaultdict(list)
    for name in await connection.run_sync(describe):
        kind, _, place = name.partition(" ")
        if kind == "column":
            of, _, own = place.partition(".")
            columns[of].append(own)
    return columns


async def _digest(
    connection: AsyncConnection, name: str, columns: Collection[str], tell: Callable[[int], None]
) -> TableDigest:
    known: Table | None = Entity.metadata.tables.get(name)
    kept = kept_of(known, name, columns)
    values = select(*(canonical(_column(known, own)) for own in kept)).select_from(table(name))
    summing = Summing()
    async with connection.stream(values, execution_options={"yield_per": ROWS}) as result:
        async for batch in result.partitions():
            summing.add(batch)
            tell(summing.rows)
    return summing.digest


class Summing:
    """The digest of a table, of which the rows come little by little."""

    def __init__(self) -> None:
        self.rows = 0
        self._total = 0

    def add(self, rows: Collection[Sequence[Any]]) -> None:
        """Take in rows of canonical values."""
        plain = (row if type(row) is tuple else tuple(row) for row in rows)  # a driver's own would be encoded as text
        self._total += sum(int.from_bytes(blake2b(_encode(row), digest_size=_LENGTH).digest()) for row in plain)
        self.rows += len(rows)

    @property
    def digest(self) -> TableDigest:
        """The digest of the rows so far."""
        return TableDigest(self.rows, f"{self._total % 2 ** (8 * _LENGTH):0{2 * _LENGTH}x}")


def kept_of(known: Table | None, name: str, columns: Collection[str]) -> list[str]:
    """Return the columns of a table that its digest is made of, in order."""
    left_out = _BOOKKEEPING.get(name, set()) | {own.name for own in (numbered(known) if known is not None else ())}
    return sorted(own for own in columns if own not in left_out)


def _column(known: Table | None, name: str) -> Any:
    """Return a column by its name alone, of the type that the models know; one they do not know is as it is."""
    declared: Column[Any] | None = None if known is None else known.c.get(name)
    return column(name) if declared is None else column(name, declared.type)


def _onwards(tell: OnProgress, done: int, total: int) -> Callable[[int], None]:
    return lambda rows: tell("reading rows", done + rows, total)


def nobody(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""
