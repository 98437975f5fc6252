"""Watching: who follows a table is woken when it may have changed, and reads then.

A table is followed when its rows carry the number of the transaction that wrote them (`types.Tx`), or when its ``info``
says ``followed``. Its info may also say of which topics it ``tells`` besides: by an insert, or by an update of certain
columns, where others would wake those who wait in vain. What a plan writes to is known from its statement, so that no
repository can forget to tell. Telling comes after the commit; it carries no rows, and may come too often: whoever is
told looks for himself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import Any, NoReturn

from sqlalchemy import Delete, Table, Update
from sqlalchemy.sql.compiler import SQLCompiler

from agentdb.engine.columns import generated
from agentdb.errors import BadInput, Unavailable


@cache
def followed(table: Table) -> bool:
    """Tell whether somebody may follow a table."""
    return bool(table.info.get("followed")) or any(
        generated(column) and column.identity is None for column in table.columns
    )


@cache
def told_by_insert(table: Table) -> frozenset[str]:
    """Return the topics that a new row of a table is told of."""
    own = {table.name} if followed(table) else set()
    return frozenset(own | _told(table).keys())


def _told(table: Table) -> Mapping[str, Collection[str]]:
    """Return the topics that a table tells of besides its own, and the columns whose update tells of each."""
    told: Mapping[str, Collection[str]] = table.info.get("tells", MappingProxyType({}))
    return told


def written(compiled: SQLCompiler) -> frozenset[str]:
    """Return the topics that a statement is told of, for what it writes to, within its WITH clauses too."""
    topics: set[str] = set()
    for statement in (compiled.statement, *(cte.element for cte in compiled.ctes or ())):
        table = getattr(statement, "table", None)
        if getattr(statement, "is_dml", False) and isinstance(table, Table):
            topics |= _topics(statement, table, compiled)
    return frozenset(topics)


def _topics(statement: Any, table: Table, compiled: SQLCompiler) -> set[str]:
    if not isinstance(statement, Update | Delete):
        return {*told_by_insert(table)}
    own = {table.name} if followed(table) else set()
    if isinstance(statement, Delete):
        return own
    named: Collection[Any] = dict(statement._values or ()) or compiled.column_keys or ()  # noqa: SLF001 (it has no public name)
    keys = {getattr(column, "key", column) for column in named}
    return own | {topic for topic, columns in _told(table).items() if not keys.isdisjoint(columns)}


def refuse_in_a_unit(topic: str) -> NoReturn:
    """Refuse to follow within a transaction, which would see nothing new or hold up everybody.

    Raises: BadInput.
    """
    raise BadInput(f"{topic} cannot be followed within a unit; follow on the database, not in a unit")


class Watch:
    """Notices that a followed table may have changed."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.told = asyncio.Event()
        self.closed = False

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a change since the watch was opened or last told; False when none came in time.

        Raises: Unavailable when the database is closed.
        """
        if not self.closed:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self.told.wait()
            except TimeoutError:
                return False
        if self.closed:
            raise Unavailable(f"the database was closed while {self.topic} was followed; open it again")
        self.told.clear()
        return True


class Watches:
    """Those in this process who wait for changes of one database."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._watches)

    def tell(self, topics: Collection[str]) -> None:
        """Wake those who wait for these tables."""
        for watch in self._watches:
            if watch.topic in topics:
                watch.told.set()

    def tell_all(self) -> None:
        """Wake everybody: something has changed, and nobody knows what."""
        for watch in self._watches:
            watch.told.set()

    @contextmanager
    def watch(self, topic: str) -> Iterator[Watch]:
        """Watch a table while the block lasts.

        Raises: Unavailable when the database is closed.
        """
        if self._closed:
            raise Unavailable(f"the database is closed, and {topic} cannot be followed; open it again")
        watch = Watch(topic)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def close(self) -> None:
        """Tell everybody that the database is closed."""
        self._closed = True
        for watch in self._watches:
            watch.closed = True
            watch.told.set()
