"""The tables that a platform's database may have left from before: dropped on request, and on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, inspect, select, table

from agentdb.database import Database
from agentdb.engine.schema.dropping import drop_foreign
from agentdb.errors import BadSettings

DEPRECATED: Final = (
    "migration_history_backup",
    "_migrations_old",
    "agent_template_versions",
    "agent_template_history",
)
"""What the platform's own clean-up drops."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A table that was dropped, or in a dry run would be, and how many rows it had."""

    table: str
    rows: int


async def drop_deprecated(database: Database, *, dry_run: bool = False, by: int | None = None) -> list[Dropped]:
    """Drop the deprecated tables that are there, all or none, and return them.

    Args:
        database: an open one, of no service.
        dry_run: tell which are there, and drop nothing.
        by: the user who asked for it; None: the system.

    Raises: BadSettings for a database of a service.
    Cost: one transaction, which counts their rows.
    """
    if database.settings.service is not None:
        raise BadSettings("tables are dropped by their owner; connect without a service")
    async with database.read() if dry_run else database.write() as unit:
        connection = await unit.session.connection()
        there = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        dropped = []
        for name in (name for name in DEPRECATED if name in there):
            rows = await unit.session.scalar(select(func.count()).select_from(table(name))) or 0
            dropped.append(Dropped(name, rows))
            if not dry_run:
                await unit.session.execute(drop_foreign(name))
                await unit.supervisor.audit.record(actor_id=by, action="drop", entity=name, detail={"rows": rows})
        return dropped
