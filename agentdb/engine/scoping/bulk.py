"""Many rows within a user's scope: a server's COPY would pass by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, insert, select

from agentdb.engine.asked import spelled
from agentdb.engine.columns import MISSING, bound_columns, column_default
from agentdb.engine.connection import Script, count, each
from agentdb.engine.plan import Plan
from agentdb.engine.statements import bulk_plan, given_arrays
from agentdb.errors import BadInput

ROWS_AT_ONCE: Final = 5_000


@cache
def _arrays(table: Table, keys: tuple[str, ...]) -> Plan[None]:
    given = given_arrays(**{key: table.c[key].type for key in keys})
    rows = select(*(given.c[key] for key in keys))
    return Plan(insert(table).from_select(list(keys), rows, include_defaults=False), name=f"{table.name}.add_many")


def rows_added(table: Table, rows: Sequence[Mapping[str, Any]], now: datetime, *, together: bool) -> Script[int]:
    """Within a script: insert rows, and return how many.

    Args: together: whether one statement may take many rows, as arrays.
    Raises: BadInput naming the row.
    """
    if not rows:
        return 0
    keys = [column.key for column in bound_columns(table)]
    whole = [_complete(table, keys, row, place, now) for place, row in enumerate(rows)]
    if not together:
        yield from each(bulk_plan(table, rows), whole)
        return len(rows)
    for first in range(0, len(whole), ROWS_AT_ONCE):
        some = whole[first : first + ROWS_AT_ONCE]
        yield from count(_arrays(table, tuple(keys)), **{key: [row[key] for row in some] for key in keys})
    return len(rows)


def _complete(table: Table, keys: Sequence[str], row: Mapping[str, Any], place: int, now: datetime) -> dict[str, Any]:
    """Return a row with its defaults."""
    unknown = set(row) - set(keys)
    if unknown:
        raise BadInput(f"{table.name} has no {spelled(unknown)} that is given (row {place} of the call)")
    complete = {}
    for key in keys:
        value = row.get(key, MISSING)
        if value is MISSING:
            default = column_default(table.c[key], inserting=True)
            if default is None:
                raise BadInput(f"{table.name}.{key} is required (row {place} of the call)")
            value = default(now)
        complete[key] = value
    return complete
