"""The two sides of a move from one database to another: rows as the drivers have them, and what becomes of each value.

Reading, a side yields what its driver gives; writing, it takes what its driver wants. Nothing of the models' classes is
made in between: moments, flags, UUIDs and vectors are what the two databases store differently.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from sqlalchemy import Column, Table, column
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.engine.blobs import BytesType, VectorType, packed, unpacked
from agentdb.engine.canonical import canonical
from agentdb.engine.quantities import MomentType
from agentdb.engine.spelling import FlagType, JsonType, Processor, TextType, UuidType, Word

Row: TypeAlias = Sequence[Any]

BATCH_BYTES: Final = 4 * 1024 * 1024
BATCH_ROWS: Final = 5000
_FIRST_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Orphans:
    """Rows that refer to rows which are not there: a file may have been written without its references enforced."""

    left_out: Mapping[str, Collection[int]] = field(default_factory=dict)  # table → rowids
    nulled: Mapping[tuple[str, str], Collection[int]] = field(default_factory=dict)  # table, column → rowids

    def concern(self, table: str) -> bool:
        """Tell whether rows of a table are among them."""
        return table in self.left_out or any(name == table for name, _ in self.nulled)


class Side(Protocol):
    """One of the databases, over a connection of its own."""

    connection: AsyncConnection

    async def orphans(self, tables: Collection[Table]) -> Orphans:
        """Return the rows that refer to nothing, and those that go with them."""
        ...

    def rows(self, table: Table, columns: Sequence[Column[Any]], *, numbered: bool) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of a table, in batches.

        Args: numbered: whether each row has its rowid behind the columns.
        """
        ...

    async def last_id(self, table: Table) -> int:
        """Return the largest id that a table has given; 0 when it gave none, or gives none."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Write within the block: all of it, or nothing."""
        ...

    async def open(self, table: Table, *, bulk: bool) -> None:
        """Within the transaction: let rows come in as they are, with no trigger and no check of references.

        Args: bulk: whether its indexes are made anew behind the rows, which pays for many.
        """
        ...

    async def write(self, table: Table, columns: Sequence[Column[Any]], rows: Sequence[Row]) -> None:
        """Within the transaction: store rows."""
        ...

    async def close(self, table: Table, last_id: int) -> None:
        """Within the transaction: put back what `open` took away, and let ids go on behind the last.

        References are checked: the tables that this one refers to are complete.
        """
        ...

    async def clear(self, tables: Collection[Table]) -> None:
        """Within the transaction: remove all rows, whatever guards them."""
        ...

    async def verify(self) -> bool:
        """Tell whether each reference leads somewhere."""
        ...


class Pace:
    """How many rows to read at once: as many as fit a few megabytes, whatever the rows are like."""

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        self._long = [place for place, one in enumerate(columns) if _is_long(one)]
        self.rows = _FIRST_ROWS

    def saw(self, rows: Sequence[Row]) -> None:
        """Take in how long these rows were."""
        size = sum(len(row[place] or ()) for row in rows for place in self._long)
        each = size / max(len(rows), 1)
        self.rows = max(1, min(BATCH_ROWS, 4 * self.rows, int(BATCH_BYTES / max(each, 1))))


def _is_long(one: Column[Any]) -> bool:
    kind = one.type
    return isinstance(kind, JsonType | BytesType | VectorType) or (isinstance(kind, TextType) and kind.length is None)


def converters(columns: Sequence[Column[Any]], source: str, target: str) -> list[Processor | None]:
    """Return what makes the target's values of the source's, for each column; None where they are the same.

    Args: source, target: the names of the dialects.
    """
    if source == target:
        return [None] * len(columns)
    known = _TO_FILE if target == "sqlite" else _TO_SERVER
    return [next((make for kind, make in known if isinstance(one.type, kind)), None) for one in columns]


def canonicals(columns: Sequence[Column[Any]], source: str) -> list[Processor | None]:
    """Return what makes the canonical values of a side's, for each column."""
    kinds = [canonical(column(one.name, one.type)).type for one in columns]
    return [kind.loader(source) if isinstance(kind, Word) else None for kind in kinds]


def applied(processors: Sequence[Processor | None], rows: Sequence[Row]) -> list[Row]:
    """Return rows with a processor applied to each column: column by column, which takes half as long."""
    if not rows or not any(processors):
        return list(rows)
    columns = zip(*rows, strict=True)
    return list(
        zip(
            *(values if one is None else _column(one, values) for one, values in zip(processors, columns, strict=True)),
            strict=True,
        )
    )


def _column(process: Callable[[Any], Any], values: tuple[Any, ...]) -> list[Any]:
    return [None if value is None else process(value) for value in values]


def _server_vector(stored: bytes) -> bytes:
    return packed(np.frombuffer(stored, dtype="<f4"))


def _file_vector(sent: bytes) -> bytes:
    return unpacked(sent).tobytes()


def _file_moment(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


_TO_SERVER: Final[Sequence[tuple[type[Any], Processor]]] = (
    (MomentType, datetime.fromisoformat),
    (FlagType, bool),
    (VectorType, _server_vector),
)
_TO_FILE: Final[Sequence[tuple[type[Any], Processor]]] = (
    (MomentType, _file_moment),
    (FlagType, int),
    (UuidType, str),
    (VectorType, _file_vector),
)
