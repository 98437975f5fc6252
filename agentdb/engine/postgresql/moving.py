"""A side of a move that is a server: rows are read by a cursor, and written by binary COPY."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Column, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.engine.moving import Orphans, Pace, Row

Driver = Any  # asyncpg.Connection

_REFERENCES: Final = (
    "SELECT quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE contype = 'f' AND conrelid = $1::regclass ORDER BY conname"
)
_INDEXES: Final = (
    "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
    " WHERE indrelid = $1::regclass AND NOT indisunique ORDER BY 1"
)
_LAST_ID: Final = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, 'id')::regclass), 0)"


class ServerSide:
    """A schema of a server, over one connection past any pooler."""

    def __init__(self, connection: AsyncConnection, driver: Driver) -> None:
        self.connection = connection
        self._driver = driver
        self._put_back: list[str] = []

    @classmethod
    async def over(cls, connection: AsyncConnection) -> ServerSide:
        """Return the side of a connection, whose driver then gives JSON as text, and vectors as bytes."""
        driver: Driver = (await connection.get_raw_connection()).driver_connection
        await driver.set_type_codec(
            "jsonb", schema="pg_catalog", format="binary", encoder=_json_bytes, decoder=_json_text
        )
        schema = await driver.fetchval(
            "SELECT n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typname = 'vector'"
        )
        if schema is not None:
            await driver.set_type_codec("vector", schema=schema, format="binary", encoder=bytes, decoder=bytes)
        return cls(connection, driver)

    async def orphans(self, tables: Collection[Table]) -> Orphans:  # noqa: ARG002
        """Return none: a server does not let them be."""
        return Orphans()

    async def rows(
        self,
        table: Table,
        columns: Sequence[Column[Any]],
        *,
        numbered: bool,  # noqa: ARG002
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield rows as they lie."""
        pace = Pace(columns)
        cursor = await self._driver.cursor(f"SELECT {_listed(columns)} FROM {_quoted(table)}")
        while rows := await cursor.fetch(pace.rows):
            yield rows
            pace.saw(rows)

    async def last_id(self, table: Table) -> int:
        """Ask the sequence."""
        return await self._driver.fetchval(_LAST_ID, _quoted(table)) if _counts(table) else 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Begin, and commit."""
        self._put_back = []
        async with self.connection.begin():
            await self.connection.exec_driver_sql("SELECT 1")  # begins it for the driver
            yield

    async def open(self, table: Table, *, bulk: bool) -> None:
        """Drop references and indexes: checked and made at once, they take a fraction of the time."""
        name = _quoted(table)
        references = await self._driver.fetch(_REFERENCES, name)
        indexes = await self._driver.fetch(_INDEXES, name) if bulk else []
        drops = ["DISABLE TRIGGER USER", *(f"DROP CONSTRAINT {reference}" for reference, _ in references)]
        await self._driver.execute(f"ALTER TABLE {name} {', '.join(drops)}")
        for index, _ in indexes:
            await self._driver.execute(f"DROP INDEX {index}")
        adds = [f"ADD CONSTRAINT {reference} {definition}" for reference, definition in references]
        self._put_back += [definition for _, definition in indexes]
        self._put_back.append(f"ALTER TABLE {name} {', '.join([*adds, 'ENABLE TRIGGER USER'])}")

    async def write(self, table: Table, columns: Sequence[Column[Any]], rows: Sequence[Row]) -> None:
        """COPY."""
        names = [column.name for column in columns]
        await self._driver.copy_records_to_table(table.name, records=rows, columns=names)

    async def close(self, table: Table, last_id: int) -> None:
        """Make indexes and references, and move the sequence on."""
        for statement in self._put_back:
            await self._driver.execute(statement)
        self._put_back = []
        if _counts(table) and last_id:
            name = _quoted(table)
            await self._driver.execute(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), greatest({last_id}, max(id))) FROM {name}"
            )
        await self._driver.execute(f"ANALYZE {_quoted(table)}")

    async def clear(self, tables: Collection[Table]) -> None:
        """Truncate them all at once, since they refer to each other; ids begin anew."""
        names = [_quoted(table) for table in tables]
        for name in names:
            await self._driver.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
        await self._driver.execute(f"TRUNCATE {', '.join(names)} RESTART IDENTITY")
        for name in names:
            await self._driver.execute(f"ALTER TABLE {name} ENABLE TRIGGER USER")

    async def verify(self) -> bool:
        """Tell that it was checked already, as the references were made."""
        return True


def _counts(table: Table) -> bool:
    return any(column.identity is not None for column in table.primary_key)


def _quoted(table: Table) -> str:
    return f'"{table.name}"'


def _listed(columns: Sequence[Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


def _json_bytes(text: str) -> bytes:
    return b"\x01" + text.encode()  # the version of the form


def _json_text(sent: bytes) -> str:
    return bytes(sent[1:]).decode()
