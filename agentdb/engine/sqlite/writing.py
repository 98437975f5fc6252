"""What the writing thread runs: one piece of work in a transaction, or many in one (group commit)."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Table

from agentdb.engine.dialects import SQLITE
from agentdb.engine.joining import Undone
from agentdb.engine.observing import batch_of, begun
from agentdb.engine.plan import Plan
from agentdb.engine.sqlite.errors import translate
from agentdb.engine.statements import bulk_plan, records_of, with_row
from agentdb.errors import AgentDBError

R = TypeVar("R")


@dataclass(frozen=True, slots=True, repr=False)
class Write(Generic[R]):
    """A piece of writing work.

    Args:
        run: does it, on the writer's own thread; it may run again when the transaction it shared was lost.
        single: it is one statement, which SQLite undoes by itself when it fails.
        tells: the followed tables it writes to; a script adds to them while it runs.
    """

    run: Callable[[sqlite3.Connection], R]
    single: bool
    tells: Collection[str] = ()


def alone(raw: sqlite3.Connection, write: Write[R]) -> R:
    """Do one piece of work in a transaction of its own."""
    if write.single:
        return write.run(raw)  # SQLite's own transaction around a statement
    begin(raw)
    try:
        result = write.run(raw)
        commit(raw)
    except BaseException:
        roll_back(raw)
        raise
    return result


def together(raw: sqlite3.Connection, writes: Sequence[Write[Any]]) -> list[Any]:
    """Do many pieces of work in one transaction: for each its result, or the error that is its own.

    Raises: Undone when the transaction as a whole was lost (a full disk, an I/O error): then nothing of it is stored.
    """
    try:
        begin(raw)
    except AgentDBError as error:
        return [copy.copy(error) for _ in writes]  # asked one by one, each would wait as long again
    try:
        with batch_of(len(writes)):
            answers = [_one_of_many(raw, write) for write in writes]
        commit(raw)
    except Exception as error:
        roll_back(raw)
        raise Undone from error
    return answers


def _one_of_many(raw: sqlite3.Connection, write: Write[Any]) -> Any:
    """Return the result of a piece of work, or the error that is its own."""
    if not write.single:
        raw.execute("SAVEPOINT joined")
    try:
        answer = write.run(raw)
    except Exception as error:
        # Some failures take the whole transaction with them; what ran after them would commit by itself.
        if not raw.in_transaction:
            raise
        answer = error
        if not write.single:
            raw.execute("ROLLBACK TO joined")
    if not write.single:
        raw.execute("RELEASE joined")
    return answer


def begin(raw: sqlite3.Connection) -> None:
    """Begin as the writer at once: a later upgrade could fail."""
    try:
        raw.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise translate(error) from error


def commit(raw: sqlite3.Connection) -> None:
    """Commit."""
    try:
        raw.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, raw) from error


def roll_back(raw: sqlite3.Connection) -> None:
    """Roll back, when there is still something to."""
    if raw.in_transaction:
        raw.execute("ROLLBACK")


def insert_rows(
    raw: sqlite3.Connection, table: Table, given: Sequence[Mapping[str, Any]], records: Iterable[Sequence[Any]]
) -> int:
    """Insert rows with one executemany.

    Raises: Conflict and its like naming the first offending row.
    """
    plan: Plan[None] = bulk_plan(table, given)
    place = -1

    def counted() -> Iterator[Sequence[Any]]:
        nonlocal place
        for place, record in enumerate(records):  # noqa: B007 (the place is what is wanted)
            yield record

    compiled = plan.on(SQLITE)
    running = begun(compiled, None)
    try:
        raw.executemany(compiled.text, counted())
    except Exception as error:
        refusal = with_row(translate(error, raw, plan, given[place]), place)
        if running is not None:
            running.failed(refusal)
        raise refusal from error
    if running is not None:
        running.ended(place + 1)
    return place + 1


async def prepared(table: Table, given: Sequence[Mapping[str, Any]], now: datetime) -> list[list[Any]]:
    """Return the driver's arguments of rows."""
    return [record async for record in records_of(bulk_plan(table, given).on(SQLITE), given, now)]
