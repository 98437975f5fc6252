"""What full-text search needs of a schema: a table's words, kept in step with its rows by the database itself.

PostgreSQL: a GIN index of ``agentdb_words``, a function that cuts a text up as SQLite's tokenizer does. SQLite: beside
``memories`` a view ``memories_text`` of what is searched, and an FTS5 table ``memories_words`` that holds nothing but
the index of it; triggers keep it in step. Both are derived: a copy of a database leaves them out and rebuilds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, event

from agentdb.engine.schema.ddl import on_database
from agentdb.engine.schema.fulltext_functions import COUNTED

_TOKENS: Final = "unicode61 remove_diacritics 0 categories ''L* M* N* Co''"


def searchable(model: Any, *columns: str) -> None:
    """Let the rows of a table be searched by the words of columns that are never null."""
    table: Table = model.__table__
    table.info["searchable"] = columns
    # serves the search for words; no Index of the metadata, as Alembic cannot compare one of an expression
    index = f"CREATE INDEX {words_index(table.name)} ON {table.name} USING gin (agentdb_words({_joined(columns)}))"
    event.listen(table, "after_create", on_database("postgresql", index))
    for statement in _sqlite_words(table.name, columns):
        event.listen(table, "after_create", on_database("sqlite", statement))


def words_index(table: str) -> str:
    """Return the name of the index of a table's words on PostgreSQL."""
    return f"ix_{table}__words"


def _joined(columns: Sequence[str], row: str = "") -> str:
    return " || ' ' || ".join(f"{row}{column}" for column in columns)


def _sqlite_words(table: str, columns: Sequence[str]) -> Iterator[str]:
    def searched(row: str = "") -> str:
        return f"substr({_joined(columns, row)}, 1, {COUNTED})"

    words = f"{table}_words"
    forget = f"INSERT INTO {words} ({words}, rowid, words) VALUES ('delete', OLD.id, {searched('OLD.')});"
    keep = f"INSERT INTO {words} (rowid, words) VALUES (NEW.id, {searched('NEW.')});"
    changed = f"NEW.id <> OLD.id OR {searched('NEW.')} <> {searched('OLD.')}"
    yield f"CREATE VIEW {table}_text AS SELECT id, {searched()} AS words FROM {table}"
    # No positions and no lengths: words are found, in whatever order, and rows weigh by them alone.
    yield (
        f"CREATE VIRTUAL TABLE {words} USING fts5(words, content='{table}_text', content_rowid='id', "
        f"detail='none', columnsize=0, tokenize='{_TOKENS}')"
    )
    yield f"CREATE TRIGGER tr_{table}__words_insert AFTER INSERT ON {table} BEGIN {keep} END"
    yield f"CREATE TRIGGER tr_{table}__words_delete AFTER DELETE ON {table} BEGIN {forget} END"
    yield (
        f"CREATE TRIGGER tr_{table}__words_update AFTER UPDATE OF id, {', '.join(columns)} ON {table} "
        f"WHEN {changed} BEGIN {forget} {keep} END"
    )


def drop_words(connection: Connection, table: str) -> None:
    """Drop what SQLite keeps beside a table; PostgreSQL's index goes with the table."""
    for kind, name in (("TABLE", f"{table}_words"), ("VIEW", f"{table}_text")):
        connection.exec_driver_sql(f"DROP {kind} IF EXISTS {name}")


def rebuild_words(connection: Connection, model: Any) -> None:
    """Make the words of a searchable model's table anew from its rows.

    Args: connection: in a transaction of whoever owns the tables.
    """
    table: Table = model.__table__
    if connection.dialect.name == "sqlite":
        words = f"{table.name}_words"
        connection.exec_driver_sql(f"INSERT INTO {words} ({words}) VALUES ('rebuild')")
    else:
        connection.exec_driver_sql(f"REINDEX INDEX {words_index(table.name)}")
