"""A rebuilt table of SQLite loses nothing on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import IntegrityError

from agentdb.engine.schema.scripts import script_of, statements
from agentdb.engine.sqlite.rebuild import rebuild
from agentdb.errors import SchemaMismatch

BEFORE = [
    "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, words TEXT NOT NULL, tags TEXT) STRICT",
    "CREATE INDEX ix_folded ON notes (lower(words)) WHERE tags IS NOT NULL",
    "CREATE INDEX ix_tags ON notes (tags)",
    "CREATE TRIGGER tr_notes BEFORE DELETE ON notes WHEN OLD.words = 'kept' BEGIN SELECT RAISE(ABORT, 'kept'); END",
    "CREATE TABLE marks (note_id INTEGER REFERENCES notes (id) ON DELETE CASCADE) STRICT",
    "CREATE TRIGGER tr_marks AFTER INSERT ON marks BEGIN UPDATE notes SET tags = 'marked' WHERE id = NEW.note_id; END",
    "INSERT INTO notes (words) VALUES ('kept'), ('second'), ('gone')",
    "INSERT INTO marks VALUES (1)",
    "DELETE FROM notes WHERE id = 3",
]
AFTER = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, words TEXT NOT NULL CHECK (words <> ''), tags TEXT,"
    " length INTEGER NOT NULL) STRICT"
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        for statement in BEFORE:
            connection.exec_driver_sql(statement)
        yield connection
    engine.dispose()


def objects(connection: Connection) -> set[tuple[str, str]]:
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'notes'")
    return {(name, sql) for name, sql in rows}


def test_rows_ids_indexes_and_triggers_stay(connection: Connection) -> None:
    before = objects(connection)
    rebuild(connection, "notes", AFTER, values={"length": "length(words)"})

    assert objects(connection) == before
    rows = connection.exec_driver_sql("SELECT * FROM notes").all()
    assert [tuple(row) for row in rows] == [(1, "kept", "marked", 4), (2, "second", None, 6)]
    added = connection.exec_driver_sql("INSERT INTO notes (words, length) VALUES ('new', 3) RETURNING id").scalar()
    assert added == 4
    assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    with pytest.raises(IntegrityError, match="kept"):
        connection.exec_driver_sql("DELETE FROM notes")
    with pytest.raises(IntegrityError, match="CHECK"):
        connection.exec_driver_sql("INSERT INTO notes (words, length) VALUES ('', 0)")


def test_what_is_meant_to_go_goes(connection: Connection) -> None:
    before = objects(connection)
    without_tags = AFTER.replace(" tags TEXT,", "")
    rebuild(connection, "notes", without_tags, values={"length": "0"}, without=["ix_tags", "ix_folded"])

    assert {name for name, _ in before - objects(connection)} == {"ix_tags", "ix_folded"}


@pytest.mark.parametrize(
    ("create", "told"),
    [(AFTER.replace(" AUTOINCREMENT", ""), "AUTOINCREMENT"), (AFTER.replace("TABLE notes", "TABLE n"), "of that name")],
)
def test_a_definition_that_would_lose_something_is_refused(connection: Connection, create: str, told: str) -> None:
    with pytest.raises(SchemaMismatch, match=told):
        rebuild(connection, "notes", create)


def test_a_script_is_cut_where_an_empty_line_follows_a_semicolon() -> None:
    trigger = "CREATE TRIGGER t BEGIN\n    SELECT 1;\n    SELECT ';';\nEND"

    assert statements(f"-- heading\nSELECT 1;\n\n{trigger};\n\n\nSELECT 2;\n") == [
        "-- heading\nSELECT 1",
        trigger,
        "SELECT 2",
    ]
    assert statements(script_of([trigger, "SELECT 2"])) == [trigger, "SELECT 2"]


def test_a_script_that_would_be_cut_wrongly_is_refused() -> None:
    with pytest.raises(ValueError, match="ends within"):
        statements("SELECT 1;\n\nSELECT 2")
    with pytest.raises(ValueError, match="empty line"):
        script_of(["CREATE TRIGGER t BEGIN SELECT 1;\n\nEND"])
