"""Rebuilding a table of SQLite, which can alter very little of one in place.

Alembic's batch mode does this too, but silently loses AUTOINCREMENT, the last id given (so that ids of deleted rows
come back), triggers, and indexes of expressions. Source: https://www.sqlite.org/lang_altertable.html, section 7.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import Connection

from agentdb.errors import SchemaMismatch

_UNFINISHED: Final = "agentdb_rebuilt"


def rebuild(
    connection: Connection,
    table: str,
    create: str,
    *,
    values: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> None:
    """Give a table a new definition, and keep its rows, the last id given, its indexes and its triggers.

    References are not enforced while a migration runs, so dropping the old table touches no other.

    Args:
        connection: within a migration's transaction.
        table: its name.
        create: the new CREATE TABLE statement, under the table's own name.
        values: column → SQL expression over the old row, for columns that are new or change; any other column that
            both have is copied.
        without: indexes and triggers that are meant to go.

    Raises: SchemaMismatch when something else would be lost.
    """
    before = _objects(connection)
    if not re.match(rf'\s*CREATE TABLE "?{table}"?\s*\(', create):
        raise SchemaMismatch(f"rebuilding {table} needs a CREATE TABLE statement of that name")
    unfinished = re.sub(rf'CREATE TABLE "?{table}"?', f"CREATE TABLE {_UNFINISHED}", create, count=1)
    last_id = _last_id(connection, table)
    connection.exec_driver_sql(unfinished)
    if last_id is not None and "AUTOINCREMENT" not in create.upper():
        raise SchemaMismatch(f"rebuilding {table} would lose AUTOINCREMENT: ids of deleted rows would come back")
    old = {column: f'"{column}"' for column in _columns(connection, table)}
    given = {**old, **(values or {})}
    kept = [column for column in _columns(connection, _UNFINISHED) if column in given]
    names = ", ".join(f'"{column}"' for column in kept)
    selected = ", ".join(given[column] for column in kept)
    connection.exec_driver_sql(f"INSERT INTO {_UNFINISHED} ({names}) SELECT {selected} FROM {table}")
    connection.exec_driver_sql(f"DROP TABLE {table}")
    # The old way of renaming leaves alone what other tables, views and triggers say of this one's name.
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
    connection.exec_driver_sql(f"ALTER TABLE {_UNFINISHED} RENAME TO {table}")
    connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")
    if last_id is not None:
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last_id))
    for (kind, name), (owner, sql) in before.items():
        if owner == table and kind != "table" and name not in without:
            connection.exec_driver_sql(sql)
    _compare(table, before, _objects(connection), without)


def _objects(connection: Connection) -> dict[tuple[str, str], tuple[str, str]]:
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name): (owner, sql) for kind, name, owner, sql in rows}


def _columns(connection: Connection, table: str) -> list[str]:
    return list(connection.exec_driver_sql("SELECT name FROM pragma_table_info(?)", (table,)).scalars())


def _last_id(connection: Connection, table: str) -> int | None:
    """Return the last id given; None for a table that does not keep it."""
    sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).scalar_one()
    if "AUTOINCREMENT" not in sql.upper():
        return None
    seq = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).scalar()
    return seq or 0


def _compare(
    table: str,
    before: Mapping[tuple[str, str], tuple[str, str]],
    after: Mapping[tuple[str, str], tuple[str, str]],
    without: Collection[str],
) -> None:
    """See that the table is the only thing that changed."""
    for kind, name in before.keys() | after.keys():
        expected = None if name in without else before.get((kind, name))
        if (kind, name) != ("table", table) and after.get((kind, name)) != expected:
            raise SchemaMismatch(f"rebuilding {table} would change the {kind} {name}; nothing was changed")
