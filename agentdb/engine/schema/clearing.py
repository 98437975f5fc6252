"""Everything of ours, dropped within a transaction: tables, what belongs to them, and functions."""

from __future__ import annotations

from sqlalchemy import Connection, MetaData, inspect

from agentdb.engine.schema.catalog import UNDESCRIBED
from agentdb.engine.schema.ddl import FUNCTIONS
from agentdb.engine.schema.fulltext import drop_words


def there_are(connection: Connection, metadata: MetaData) -> list[str]:
    """Return which of a metadata's tables a database has, by name."""
    return sorted(metadata.tables.keys() & set(inspect(connection).get_table_names()))


def drop_all(connection: Connection, metadata: MetaData) -> list[str]:
    """Drop a metadata's tables, the functions, and the record of migrations; return the tables that were there.

    Tables of others stay. On PostgreSQL what others have built upon ours, such as a view, stops it; on SQLite `verify`
    finds rows of others that refer to ours.
    """
    found = there_are(connection, metadata)
    if connection.dialect.name == "sqlite":
        _drop_from_file(connection, metadata, found)
    else:
        if found:
            connection.exec_driver_sql("DROP TABLE " + ", ".join(f'"{name}"' for name in found))
        for signature in FUNCTIONS:
            connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {signature}")
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {UNDESCRIBED}")
    return found


def _drop_from_file(connection: Connection, metadata: MetaData, found: list[str]) -> None:
    numbers = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").scalar()
    for name in found:
        if "searchable" in metadata.tables[name].info:
            drop_words(connection, name)
        connection.exec_driver_sql(f'DROP TABLE "{name}"')
        if numbers is not None:  # that of its changes stays behind, unlike that of its ids
            connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (f"{name}.tx",))
