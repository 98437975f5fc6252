"""The index of a reference that may be empty: only of rows that refer to something, and taken all the same."""

from __future__ import annotations

import sqlite3

import asyncpg

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.sqlite.engine import SQLite


def _spared() -> dict[str, tuple[str, str]]:
    """Return the table and the column of each index that leaves out rows which refer to nothing."""
    found = {}
    for table in Entity.metadata.tables.values():
        for index in table.indexes:
            where = str(index.dialect_options["sqlite"]["where"])
            for column in index.columns:
                if column.foreign_keys and where == f"{column.name} IS NOT NULL":
                    found[str(index.name)] = (table.name, column.name)
    return found


async def _explained(db: Database, changes: list[str]) -> list[str]:
    """Return how the database would make each change, told the value only then."""
    engine = db._there()
    if isinstance(engine, SQLite):
        raw = sqlite3.connect(engine.path)
        steps = [raw.execute(f"EXPLAIN QUERY PLAN {change}?", [7]).fetchall() for change in changes]
        raw.close()
        return [" ".join(row[3] for row in rows) for rows in steps]
    plain = await asyncpg.connect(**db.settings.target.connect_arguments())
    await plain.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    explained = []
    for place, change in enumerate(changes):
        await plain.execute(f"PREPARE change_{place}(bigint) AS {change}$1")
        explained.append(" ".join(row[0] for row in await plain.fetch(f"EXPLAIN EXECUTE change_{place}(7)")))
    await plain.close()
    return explained


async def test_what_goes_finds_who_refers_to_it_by_an_index_of_those_alone(db: Database) -> None:
    spared = _spared()
    assert {"ix_costs__execution_id", "ix_context_log__host_id", "ix_users__lead_user_id"} <= set(spared)

    explained = await _explained(
        db, [f"UPDATE {table} SET {column} = NULL WHERE {column} = " for table, column in spared.values()]
    )

    for name, steps in zip(spared, explained, strict=True):
        assert name in steps
        assert "Seq Scan" not in steps
