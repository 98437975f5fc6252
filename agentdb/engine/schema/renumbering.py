"""Numbers of transactions that another server gave: a database that was moved is followed from the beginning.

PostgreSQL numbers the transactions of a whole server. A dump that is restored into a younger one holds rows with
numbers that are yet to come there: those who follow would wait for them, and everything behind them, for years. Such
rows are numbered 0, before all that come; among each other they keep the order of their keys.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, MetaData, Table, text

from agentdb.engine.columns import generated

_THERE: Final = text(
    "SELECT table_name || '.' || column_name FROM information_schema.columns"
    " WHERE table_schema = ANY(current_schemas(false))"
)


def ahead(connection: Connection, metadata: MetaData) -> list[str]:
    """Return the tables, by name, that hold numbers which this server has not given yet; on SQLite none do."""
    if connection.dialect.name != "postgresql":
        return []
    there = {name for (name,) in connection.execute(_THERE)}
    return sorted(
        table.name
        for table in metadata.tables.values()
        for column in numbered(table)
        if f"{table.name}.{column.name}" in there
        and connection.scalar(text(f"SELECT EXISTS (SELECT FROM {table.name} WHERE {_to_come(column)})"))
    )


def renumber(connection: Connection, metadata: MetaData) -> tuple[str, ...]:
    """Number such rows anew, and return the tables that had some."""
    found = ahead(connection, metadata)
    for name in found:
        guarded = "deletes" in metadata.tables[name].info  # its rows never change, but for this
        if guarded:
            connection.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER tr_{name}__update"))
        for column in numbered(metadata.tables[name]):
            connection.execute(text(f"UPDATE {name} SET {column.name} = 0 WHERE {_to_come(column)}"))
        if guarded:
            connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER tr_{name}__update"))
    return tuple(found)


def numbered(table: Table) -> list[Column[int]]:
    """Return the columns of a table that hold numbers of transactions: those the database gives, and kept ones."""
    return [
        column
        for column in table.columns
        if (generated(column) and column.identity is None) or column.name.endswith("_tx")
    ]


def _to_come(column: Column[int]) -> str:
    return f"{column.name} >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
