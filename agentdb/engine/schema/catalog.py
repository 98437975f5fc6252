"""What a live database's schema is: the name of each object, and its definition as the database itself tells it.

Alembic's comparison sees no CHECKs, triggers, functions or conditions of indexes; this one sees each of them. Two
databases with equal descriptions behave alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import Boolean, Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

# The indexes of single collections come and go with them (`agentdb.engine.vectors.indexing`).
OF_COLLECTION: Final = "ix_vectors__of_collection_"

# "index users.ix_users__role_id" → "CREATE INDEX ..."
Description: TypeAlias = Mapping[str, str]


class table_exists(FunctionElement[bool]):  # noqa: N801 (a SQL function)
    """Whether there is a table of this name, in this very schema; None: in the first that exists on the search path."""

    type = Boolean()
    inherit_cache = False

    def __init__(self, name: str, schema: str | None = None) -> None:
        super().__init__()
        self.table = name
        self.schema = schema


@compiles(table_exists, "postgresql")
def _table_exists_postgresql(element: table_exists, compiler: SQLCompiler, **_: Any) -> str:
    if element.schema is None:
        return f"(to_regclass(quote_ident(current_schema()) || '.{element.table}') IS NOT NULL)"
    schema = compiler.preparer.quote_identifier(element.schema).replace("'", "''")
    return f"(to_regclass('{schema}.{element.table}') IS NOT NULL)"


@compiles(table_exists, "sqlite")
def _table_exists_sqlite(element: table_exists, _compiler: SQLCompiler, **_: Any) -> str:
    return f"EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{element.table}')"


# Alembic's own table, which no model and no migration describes.
UNDESCRIBED: Final = "alembic_version"


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that two schemas disagree about."""

    name: str  # such as "index users.ix_users__role_id"
    within: str  # whose schema was looked at
    found: str | None  # None: it is not there
    expected: str | None  # None: it should not be there

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.name} is missing from {self.within}; expected {self.expected}"
        if self.expected is None:
            return f"{self.name} is in {self.within}, and nothing expects it: {self.found}"
        return f"{self.name} differs in {self.within}: found {self.found}; expected {self.expected}"


def compare(found: Description, expected: Description, *, within: str) -> list[Difference]:
    """Return what differs, by name; tables that `expected` does not know belong to somebody else and do not count.

    Args: within: whose schema `found` describes, for the message.
    """
    ours = {_table(name) for name in expected}
    names = {*expected, *(name for name in found if _table(name) in ours or name.startswith("function agentdb_"))}
    return [
        Difference(name, within, found.get(name), expected.get(name))
        for name in sorted(names)
        if found.get(name) != expected.get(name)
    ]


def _table(name: str) -> str:
    return name.partition(" ")[2].partition(".")[0]


def render(description: Description) -> str:
    """Return a description as a text that `parse` reads: a comment with the name, then the definition."""
    names = sorted(description, key=_place)
    return "".join(
        f"{'' if name.startswith(_WITHIN_TABLES) else chr(10)}-- {name}\n{description[name]}\n" for name in names
    )


_WITHIN_TABLES: Final = ("column ", "constraint ", "index ", "trigger ")


def _place(name: str) -> tuple[str, str]:
    """Put what belongs to a table beneath it."""
    return _table(name), name if name.startswith(_WITHIN_TABLES) else ""


_HEADING: Final = re.compile(
    r"^-- ((?:column|constraint|extension|function|index|table|trigger|view) \S.*)\n", re.MULTILINE
)


def parse(text: str) -> Description:
    """Return the description that `render` wrote, whatever comment stands above it."""
    _, *parts = _HEADING.split(text)
    return {name: definition.strip("\n") for name, definition in zip(parts[::2], parts[1::2], strict=True)}


def describe(connection: Connection) -> Description:
    """Return the schema of a database; on PostgreSQL of the first schema on the search path."""
    if connection.dialect.name == "sqlite":
        return dict(_sqlite(connection))
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    found: dict[str, str] = {}
    for query in _POSTGRESQL:
        for name, definition in connection.exec_driver_sql(query):
            found[name] = definition.replace(f"{schema}.", "").strip()
    return found


_OURS: Final = f"c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname <> '{UNDESCRIBED}'"

# Nothing here may depend on the server's version: NOT NULL, for one, is a constraint since 18, and always an attribute.
_POSTGRESQL: Final = (
    "SELECT 'extension ' || extname, 'CREATE EXTENSION ' || extname FROM pg_extension WHERE extname = 'vector'",
    f"""
    SELECT 'table ' || c.relname,
        'CREATE ' || CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END || 'TABLE ' || c.relname
        || CASE WHEN c.relrowsecurity THEN ' ENABLE ROW LEVEL SECURITY' ELSE '' END
    FROM pg_class c WHERE c.relkind IN ('r', 'p') AND {_OURS}
    """,
    f"SELECT 'view ' || c.relname, pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relkind IN ('v', 'm') AND {_OURS}",
    f"""
    SELECT 'column ' || c.relname || '.' || a.attname, concat_ws(' ',
        format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || quote_ident(l.collname) END,
        CASE a.attidentity
            WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
        END,
        CASE a.attgenerated WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED ALWAYS AS ' END || pg_get_expr(d.adbin, d.adrelid),
        CASE WHEN a.attnotnull THEN 'NOT NULL' END
    )
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND {_OURS}
    """,
    f"""
    SELECT 'constraint ' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND {_OURS}
    """,
    f"""
    SELECT 'index ' || c.relname || '.' || i.relname,
        pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisvalid THEN '' ELSE ' (invalid)' END
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
    WHERE {_OURS} AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))
        AND NOT starts_with(i.relname, '{OF_COLLECTION}')
    """,
    f"""
    SELECT 'trigger ' || c.relname || '.' || t.tgname,
        pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' ELSE ' (fires: ' || t.tgenabled::text || ')' END
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND {_OURS}
    """,
    """
    SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
        pg_get_functiondef(p.oid)
    FROM pg_proc p
    WHERE p.pronamespace = quote_ident(current_schema())::regnamespace AND p.prokind IN ('f', 'p')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    """,
)


def _sqlite(connection: Connection) -> Iterator[tuple[str, str]]:
    rows = connection.exec_driver_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
        f" WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name <> '{UNDESCRIBED}'"
        # What a virtual table keeps its contents in is its module's affair.
        " AND tbl_name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')"
    )
    for kind, name, table, sql in rows:
        if kind == "table":
            yield from _sqlite_table(name, sql)
        elif kind == "view":
            yield f"view {name}", _one_line(sql)
        else:
            yield f"{kind} {table}.{name}", _one_line(sql)


# Literals, quoted names, comments, and what the scan stops at; anything else is taken character by character.
_TOKENS: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\s+|\w+|.""", re.DOTALL
)
_CONSTRAINT: Final = re.compile(r"CONSTRAINT (\S+) (.*)", re.DOTALL)


def _tokens(sql: str) -> Iterator[str]:
    """Yield the tokens of a statement: comments are left out, and white space is one space."""
    for found in _TOKENS.finditer(sql):
        token = found.group()
        if token.startswith(("--", "/*")) or token.isspace():
            yield " "
        else:
            yield token


def _one_line(sql: str) -> str:
    return _squeeze("".join(_tokens(sql)))


def _squeeze(text: str) -> str:
    """Take out the spaces that `_tokens` left side by side; those in literals stay."""
    return "".join(part if part[:1] in "'\"" else re.sub(" +", " ", part) for part in _LITERALS.split(text)).strip()


_LITERALS: Final = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")


def _sqlite_table(table: str, sql: str) -> Iterator[tuple[str, str]]:
    """Yield a table, its columns and its constraints, each by itself: their order is history, not meaning."""
    parts, behind = _parts(sql)
    if not parts:
        yield f"table {table}", _one_line(sql)  # a virtual table's arguments are its module's affair
        return
    yield f"table {table}", f"CREATE TABLE {table} {behind}".rstrip()
    for part in parts:
        if found := _CONSTRAINT.fullmatch(part):
            yield f"constraint {table}.{found[1]}", found[2]
        elif part.startswith(("CHECK", "FOREIGN KEY", "PRIMARY KEY", "UNIQUE")):
            yield f"constraint {table}.{part}", part
        else:
            name, _, definition = part.partition(" ")
            yield f"column {table}.{name.strip(_QUOTES)}", definition


_QUOTES: Final = "\"`[]'"


def _parts(sql: str) -> tuple[list[str], str]:
    """Return what stands between a CREATE TABLE's outermost parentheses, cut at its commas, and what stands behind."""
    if not re.match(r"\s*CREATE\s+TABLE\b", sql, re.IGNORECASE):
        return [], ""
    depth = 0
    parts = [""]
    tokens = _tokens(sql)
    for part in tokens:
        if part == ")":
            depth -= 1
            if depth == 0:
                break
        if part == "," and depth == 1:
            parts.append("")
        elif depth:
            parts[-1] += part
        if part == "(":
            depth += 1
    return [_squeeze(part) for part in parts], _squeeze("".join(tokens))
