"""COPY: rows in bulk, all or none, and which one was refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import Table

from agentdb.engine.dialects import POSTGRESQL
from agentdb.engine.observing import Observing
from agentdb.engine.postgresql.errors import translate
from agentdb.engine.statements import bulk_plan, records_of, with_row

Driver = Any  # asyncpg.Connection: the package carries no types

_COPYING: Final = "agentdb_copying"
_HALF: Final = "agentdb_half"


async def copy_rows(
    connection: Driver, table: Table, rows: Iterable[Mapping[str, Any]], now: datetime, observing: Observing
) -> int:
    """COPY rows into a table, all or none, and return how many.

    Raises: Conflict and its like naming the first offending row, which is found by halving and undone.
    """
    given = list(rows)
    if not given:
        return 0
    plan = bulk_plan(table, given)
    compiled = plan.on(POSTGRESQL)
    records: list[list[Any]] = []

    async def prepared() -> AsyncIterator[list[Any]]:
        # Made while the server stores those before, and kept: a refused row is looked for among them.
        async for record in records_of(compiled, given, now):
            records.append(record)
            yield record

    columns = [table.c[key].name for key in plan.columns or ()]
    inside = connection.is_in_transaction()
    try:
        if inside:
            await connection.execute(f"SAVEPOINT {_COPYING}")
        copying = _copy(connection, table, columns, prepared())
        await observing.fetched(copying, compiled, f"COPY {table.name}", rows=changed)
        if inside:
            await connection.execute(f"RELEASE SAVEPOINT {_COPYING}")
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        place, refusal = await _first_refused(connection, table, columns, records, error, inside=inside)
        raise with_row(translate(refusal, plan, given[place]), place) from refusal
    except Exception as error:
        raise translate(error, plan) from error
    return len(records)


async def _copy(connection: Driver, table: Table, columns: Sequence[str], records: Any) -> str:
    status: str = await connection.copy_records_to_table(table.name, records=records, columns=columns)
    return status


def changed(status: str) -> int:
    """Return the number of rows in a command's status, such as ``UPDATE 3``."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


async def _first_refused(
    connection: Driver,
    table: Table,
    columns: Sequence[str],
    records: Sequence[Sequence[Any]],
    refusal: Exception,
    *,
    inside: bool,
) -> tuple[int, Exception]:
    """Return the position of the first row that the table refuses, after those before it, and why.

    Args: refusal: why it refuses them all; a later row's unique value is noticed before an earlier row's reference.
    Cost: about twice the rows, copied and rolled back.
    """
    first, end = 0, len(records)
    await connection.execute(f"ROLLBACK TO SAVEPOINT {_COPYING}" if inside else f"BEGIN; SAVEPOINT {_COPYING}")
    try:
        while end - first > 1:
            middle = (first + end) // 2
            await connection.execute(f"SAVEPOINT {_HALF}")
            try:
                await _copy(connection, table, columns, records[first:middle])
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
                await connection.execute(f"ROLLBACK TO SAVEPOINT {_HALF}")
                end, refusal = middle, error
            else:
                first = middle
    finally:
        await connection.execute(f"ROLLBACK TO SAVEPOINT {_COPYING}" if inside else "ROLLBACK")
    return first, refusal
