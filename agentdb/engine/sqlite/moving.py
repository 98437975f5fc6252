"""A side of a move that is a file: rows are read by a cursor and written by executemany, on the connection's thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Column, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from agentdb.engine.functions import next_change
from agentdb.engine.moving import Orphans, Pace, Row
from agentdb.engine.spelling import JsonType

Driver = Any  # aiosqlite.Connection

_ASKED: Final = 500  # ids in one question
_TRIGGERS: Final = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
_INDEXES: Final = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql LIKE 'CREATE INDEX %'"
)


class FileSide:
    """A file, over one connection; references are not enforced on it."""

    def __init__(self, connection: AsyncConnection, driver: Driver) -> None:
        self.connection = connection
        self._driver = driver
        self._put_back: dict[str, list[str]] = defaultdict(list)

    @classmethod
    async def over(cls, connection: AsyncConnection) -> FileSide:
        """Return the side of a connection."""
        driver: Driver = (await connection.get_raw_connection()).driver_connection
        return cls(connection, driver)

    async def orphans(self, tables: Collection[Table]) -> Orphans:
        """Find what enforced references would have cleared away: the row, or what it says of the one that is gone."""
        left_out: dict[str, set[int]] = defaultdict(set)
        nulled: dict[tuple[str, str], set[int]] = defaultdict(set)
        names = {table.name for table in tables}
        found = await self._driver.execute_fetchall("PRAGMA foreign_key_check")
        references: dict[str, dict[int, tuple[str, str]]] = {}
        for name, rowid, _, place in found:
            if name not in names:
                continue
            if name not in references:
                listed = await self._driver.execute_fetchall(f'PRAGMA foreign_key_list("{name}")')
                references[name] = {row[0]: (row[3], row[6]) for row in listed}
            column, on_delete = references[name][place]
            if on_delete == "SET NULL":
                nulled[name, column].add(rowid)
            else:
                left_out[name].add(rowid)
        fresh = {name: set(rowids) for name, rowids in left_out.items()}
        while fresh:
            fresh = await self._followers(fresh, tables, left_out, nulled)
        return Orphans(
            {name: rowids for name, rowids in left_out.items() if rowids},
            {place: rowids for place, rowids in nulled.items() if rowids},
        )

    async def _followers(
        self,
        gone: dict[str, set[int]],
        tables: Collection[Table],
        left_out: dict[str, set[int]],
        nulled: dict[tuple[str, str], set[int]],
    ) -> dict[str, set[int]]:
        """Take in the rows that refer to rows which are left out, and return those that are left out in their turn."""
        fresh: dict[str, set[int]] = defaultdict(set)
        for table in tables:
            for key in table.foreign_keys:
                column = key.parent.name
                rowids = await self._referring(table.name, column, gone.get(key.column.table.name, ()))
                if key.ondelete == "SET NULL":
                    nulled[table.name, column].update(rowids)
                else:
                    fresh[table.name].update(rowids - left_out[table.name])
                    left_out[table.name].update(rowids)
        return {name: rowids for name, rowids in fresh.items() if rowids}

    async def _referring(self, table: str, column: str, ids: Iterable[int]) -> set[int]:
        asked = sorted(ids)
        found: set[int] = set()
        for first in range(0, len(asked), _ASKED):
            some = ", ".join(map(str, asked[first : first + _ASKED]))
            query = f'SELECT rowid FROM "{table}" WHERE "{column}" IN ({some})'
            found.update(rowid for (rowid,) in await self._driver.execute_fetchall(query))
        return found

    async def rows(
        self, table: Table, columns: Sequence[Column[Any]], *, numbered: bool
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield rows in the order of their rowids."""
        pace = Pace(columns)
        names = ", ".join([*(f'"{column.name}"' for column in columns), *(["rowid"] if numbered else [])])
        async with self._driver.execute(f'SELECT {names} FROM "{table.name}" ORDER BY rowid') as cursor:
            while rows := await cursor.fetchmany(pace.rows):
                yield rows
                pace.saw(rows)

    async def last_id(self, table: Table) -> int:
        """Ask SQLite's own count of them, where there is one."""
        if all(column.identity is None for column in table.primary_key):
            return 0
        found = await self._driver.execute_fetchall("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,))
        return max((row[0] for row in found), default=0)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Begin as the only writer, and commit."""
        self._put_back.clear()
        async with self.connection.begin():
            await self.connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield

    async def open(self, table: Table, *, bulk: bool) -> None:
        """Drop triggers, and indexes that are quicker made of all rows at once."""
        dropped = [("TRIGGER", _TRIGGERS), *([("INDEX", _INDEXES)] if bulk else [])]
        for kind, query in dropped:
            for name, statement in await self._driver.execute_fetchall(query, (table.name,)):
                await self._driver.execute(f'DROP {kind} "{name}"')
                self._put_back[table.name].append(statement)

    async def write(self, table: Table, columns: Sequence[Column[Any]], rows: Sequence[Row]) -> None:
        """Insert; JSON as this database writes it, without spaces."""
        names = ", ".join(f'"{column.name}"' for column in columns)
        values = ", ".join("json(?)" if isinstance(column.type, JsonType) else "?" for column in columns)
        await self._driver.executemany(f'INSERT INTO "{table.name}" ({names}) VALUES ({values})', rows)

    async def close(self, table: Table, last_id: int) -> None:
        """Number the rows where changes are numbered, index their words, and put triggers and indexes back."""
        name = table.name
        if "numbered" in table.info:
            await self._driver.execute(f'UPDATE "{name}" SET tx = ({next_change(name)})')
        if "searchable" in table.info:
            await self._driver.execute(f'INSERT INTO "{name}_words" ("{name}_words") VALUES (\'rebuild\')')
        if last_id:
            await self._driver.execute("DELETE FROM sqlite_sequence WHERE name = ? AND seq < ?", (name, last_id))
            await self._driver.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?, ?"
                " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                (name, last_id, name),
            )
        for statement in self._put_back.pop(name, []):
            await self._driver.execute(statement)

    async def clear(self, tables: Collection[Table]) -> None:
        """Delete them table by table, with no trigger to refuse it; ids begin anew."""
        for table in tables:
            await self.open(table, bulk=False)
            await self._driver.execute(f'DELETE FROM "{table.name}"')
            await self._driver.execute(
                "DELETE FROM sqlite_sequence WHERE name IN (?, ?)", (table.name, f"{table.name}.tx")
            )
            await self.close(table, 0)

    async def verify(self) -> bool:
        """Look at each reference of the file."""
        return not await self._driver.execute_fetchall("PRAGMA foreign_key_check")
