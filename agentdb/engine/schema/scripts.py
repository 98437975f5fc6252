"""SQL scripts: the frozen text of migrations, and how it is cut into statements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from agentdb.engine.schema.fulltext import drop_words

_END: Final = re.compile(r";[ \t]*\n(?:[ \t]*\n)+|;\s*\Z")


def statements(script: str) -> list[str]:
    """Return the statements of a script, without their last semicolons.

    A statement ends with a semicolon at the end of a line that an empty line follows, or the script's end. So triggers
    and functions keep the semicolons within them, unless an empty line stands behind one: `script_of` sees to that.

    Raises: ValueError when the script ends within a statement.
    """
    *found, rest = _END.split(script.strip() + "\n")
    if rest.strip():
        raise ValueError(f"the script ends within a statement: {rest.strip()[:80]!r}")
    return [statement.strip() for statement in found]


def script_of(parts: Iterable[str]) -> str:
    """Return the script that `statements` cuts into these statements again.

    Raises: ValueError for a statement that would be cut in two.
    """
    given = list(parts)
    script = "".join(f"{statement};\n\n" for statement in given).rstrip("\n") + "\n"
    if statements(script) != given:
        raise ValueError("a statement has an empty line behind a semicolon; remove it")
    return script


def run_script(connection: Connection, migration: str) -> None:
    """Run the script that lies beside a migration for this connection's database.

    Args: migration: the migration's own file: ``0001_x.py`` has ``0001_x.postgresql.sql`` and ``0001_x.sqlite.sql``.
    """
    path = Path(migration).with_suffix(f".{connection.dialect.name}.sql")
    for statement in statements(path.read_text(encoding="utf-8")):
        connection.exec_driver_sql(statement)


def drop_tables(connection: Connection, tables: Sequence[str]) -> None:
    """Drop tables that may refer to one another, but to which no other table refers."""
    if connection.dialect.name == "sqlite":
        for table in reversed(tables):
            drop_words(connection, table)
            connection.exec_driver_sql(f"DROP TABLE {table}")
    else:
        connection.exec_driver_sql(f"DROP TABLE {', '.join(tables)}")
