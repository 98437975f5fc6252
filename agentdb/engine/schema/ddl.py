"""The schema objects with two spellings: CHECKs, partial indexes, triggers, functions."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import DDL, CheckConstraint, Column, Index, MetaData, Table, event, text
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.schema import ExecutableDDLElement

from agentdb.engine.functions import next_change
from agentdb.engine.schema.change_functions import EXECUTIONS, NODE
from agentdb.engine.schema.fulltext_functions import SAID, WORDS
from agentdb.engine.schema.vector_functions import FITS
from agentdb.engine.spelling import Word

_quote: Final = DefaultDialect().identifier_preparer.quote


def carry_condition(column: Column[Any], table: Table) -> None:
    """Give a column the CHECK its word needs on each database, under the one naming convention."""
    if not isinstance(column.type, Word):
        return
    quoted = _quote(column.name)
    one, other = (column.type.condition(quoted, database) for database in ("postgresql", "sqlite"))
    if column.nullable and other is not None and one != other:
        # Before 3.45, SQLite's json_valid(NULL) is 0; what both databases check lets NULL pass by itself.
        other = f"{quoted} IS NULL OR {other}"
    if one == other and one is not None:
        table.append_constraint(CheckConstraint(one, name=column.name))
        return
    for database, condition in (("postgresql", one), ("sqlite", other)):
        if condition is not None:
            table.append_constraint(CheckConstraint(condition, name=column.name).ddl_if(dialect=database))


def keep_ids(table: Table) -> None:
    """See to it that a deleted row's id never comes back, and that SQLite holds columns to their types."""
    own = [column for column in table.primary_key if column.identity is not None]
    table.dialect_options["sqlite"]["autoincrement"] = len(own) == 1
    table.dialect_options["sqlite"]["strict"] = True


def pass_over_absent(table: Table) -> None:
    """Leave rows that refer to nothing out of the index of a reference: nobody looks for them by it.

    Most rows of a ledger or a log leave most references empty, and are then spared an entry in each of these indexes.
    Both databases take such an index for ``column = ?``, also for what they do by themselves when the other row goes.
    """
    for index in table.indexes:
        column = next(iter(index.columns), None)
        if column is None or len(index.expressions) > 1 or index.unique:
            continue
        if not (column.nullable and column.foreign_keys):
            continue
        for database in ("postgresql", "sqlite"):
            if index.dialect_options[database]["where"] is None:
                index.dialect_options[database]["where"] = text(f"{_quote(column.name)} IS NOT NULL")


def only_characters(column: str, characters: str, name: str) -> tuple[CheckConstraint, CheckConstraint]:
    """Return the CHECKs that a text is not empty and has only the characters of a class, such as ``A-Za-z0-9_-``."""
    return (
        CheckConstraint(f"{column} ~ '^[{characters}]+$'", name=name).ddl_if(dialect="postgresql"),
        CheckConstraint(f"{column} <> '' AND {column} NOT GLOB '*[^{characters}]*'", name=name).ddl_if(
            dialect="sqlite"
        ),
    )


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index of the rows that meet a condition.

    Args:
        name: in full, as the naming convention knows nothing of conditions; ``uq_`` when unique.
        columns: names, with `` DESC`` behind those that run downwards.
        where: valid on both databases; a flag stands alone (``is_default``), as SQLAlchemy writes it in a query, for
            SQLite takes the index only for the same words.
        unique: whether no two such rows may have the same values.
    """
    return Index(name, *map(_element, columns), unique=unique, postgresql_where=text(where), sqlite_where=text(where))


def descending_index(name: str, *columns: str) -> Index:
    """Return an index with columns that run downwards: `` DESC`` behind their names."""
    return Index(name, *map(_element, columns))


def _element(column: str) -> Any:
    return text(column) if " " in column else column


def contents_index(name: str, column: str) -> Index:
    """Return an index of what JSON lists contain; only PostgreSQL has one, SQLite reads the rows."""
    return Index(name, column, postgresql_using="gin").ddl_if(dialect="postgresql")


def number_changes(table: Table) -> None:
    """Let SQLite number the changes of a table whose rows change: ``tx`` is above all that were there before.

    PostgreSQL numbers transactions by itself. Updates set ``tx`` by `writing_transaction`; a new row is given its
    number by a trigger, since a default cannot ask, and when the last number goes with its row, the sequence keeps it.
    """
    table.info["numbered"] = True
    number, name = next_change(table.name), table.name
    give = (
        f"CREATE TRIGGER tr_{name}__number AFTER INSERT ON {name} WHEN NEW.tx = 0 "
        f"BEGIN UPDATE {name} SET tx = ({number}) WHERE rowid = NEW.rowid; END"
    )
    keep = (
        f"CREATE TRIGGER tr_{name}__keep_number AFTER DELETE ON {name} WHEN OLD.tx >= ({number}) "
        f"BEGIN DELETE FROM sqlite_sequence WHERE name = '{name}.tx'; "
        f"INSERT INTO sqlite_sequence (name, seq) VALUES ('{name}.tx', OLD.tx); END"
    )
    for trigger in (give, keep):
        event.listen(table, "after_create", on_database("sqlite", trigger))


class Deletes(Enum):
    """When rows of a table that is never updated may go."""

    NEVER = auto()
    RETENTION = auto()
    WITH_PARENT = auto()  # or by retention


def append_only(table: Table, deletes: Deletes) -> None:
    """Let the database refuse every UPDATE of a table, and the DELETEs and TRUNCATEs that ``deletes`` does not allow.

    An UPDATE passes that only turns references null which are declared ON DELETE SET NULL: a foreign key's own action
    is an UPDATE, and fires triggers, on both databases.

    PostgreSQL: retention sets ``agentdb.retention`` to ``on`` for its transaction; a deletion together with the parent
    is known by ``pg_trigger_depth()``, as the foreign key's action runs within a trigger of the parent's.
    SQLite: a trigger cannot read such a mark, so retention drops the trigger within its transaction and makes it anew
    (``retention`` gives the statements). Nor can it tell a cascade from a DELETE: rows that may go with their parent
    are guarded against UPDATE only. ``INSERT OR REPLACE`` fires the DELETE trigger under ``recursive_triggers``.
    """
    table.info["deletes"] = deletes
    for database, guards in (("postgresql", _postgresql_guards(table)), ("sqlite", _sqlite_guards(table))):
        for guard in guards.values():
            event.listen(table, "after_create", on_database(database, guard))


def on_database(database: str, statement: str) -> ExecutableDDLElement:
    """Return a statement that is run on one of the databases only."""
    # DDL fills in %-signs.
    return DDL(statement.replace("%", "%%")).execute_if(dialect=database)  # type: ignore[no-untyped-call]


def retention(table: Table, database: str) -> tuple[list[str], list[str]]:
    """Return what opens an append-only table to retention, and what closes it again: in the deleting transaction.

    Raises: ValueError for a table whose rows never go.
    """
    deletes = table.info.get("deletes")
    if deletes is Deletes.NEVER:
        raise ValueError(f"rows of {table.name} are kept for ever")
    if deletes is None:
        return [], []
    if database == "postgresql":
        return ["SET LOCAL agentdb.retention = 'on'"], ["SET LOCAL agentdb.retention = 'off'"]
    guard = _sqlite_guards(table).get("delete")
    return ([f"DROP TRIGGER tr_{table.name}__delete"], [guard]) if guard else ([], [])


def _changed(table: Table) -> str:
    """Return the condition that an update did more than turn references null."""
    fading = {key.parent.name for key in table.foreign_keys if key.ondelete == "SET NULL"}
    if not fading:
        return ""
    changes = []
    for column in table.columns:
        name = _quote(column.name)
        change = f"NEW.{name} IS DISTINCT FROM OLD.{name}"
        changes.append(f"(NEW.{name} IS NOT NULL AND {change})" if column.name in fading else change)
    return f" WHEN ({' OR '.join(changes)})"


_UNMARKED: Final = "current_setting('agentdb.retention', true) IS DISTINCT FROM 'on'"


def _postgresql_guards(table: Table) -> dict[str, str]:
    rows, whole = {
        Deletes.NEVER: ("", ""),
        Deletes.RETENTION: (f" WHEN ({_UNMARKED})", f" WHEN ({_UNMARKED})"),
        Deletes.WITH_PARENT: (f" WHEN (pg_trigger_depth() = 0 AND {_UNMARKED})", f" WHEN ({_UNMARKED})"),
    }[table.info["deletes"]]

    def guard(verb: str, each: str, condition: str) -> str:
        return (
            f"CREATE TRIGGER tr_{table.name}__{verb.lower()} BEFORE {verb} ON {table.name} "
            f"FOR EACH {each}{condition} EXECUTE FUNCTION agentdb_refuse_change()"
        )

    return {
        "update": guard("UPDATE", "ROW", _changed(table)),
        "delete": guard("DELETE", "ROW", rows),
        "truncate": guard("TRUNCATE", "STATEMENT", whole),
    }


def _sqlite_guards(table: Table) -> dict[str, str]:
    def guard(verb: str, condition: str = "") -> str:
        return (
            f"CREATE TRIGGER tr_{table.name}__{verb.lower()} BEFORE {verb} ON {table.name}{condition} "
            f"BEGIN SELECT RAISE(ABORT, '{table.name} is append-only'); END"
        )

    guards = {"update": guard("UPDATE", _changed(table))}
    if table.info["deletes"] is not Deletes.WITH_PARENT:
        guards["delete"] = guard("DELETE")
    return guards


# 25006 is read_only_sql_transaction: the nearest of the standard's states.
_REFUSE_CHANGE: Final = """
CREATE OR REPLACE FUNCTION agentdb_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '25006', TABLE = TG_TABLE_NAME;
END
$$
"""

# STRICT, as SQLite's json_patch gives NULL for NULL too.
_MERGE_PATCH: Final = """
CREATE OR REPLACE FUNCTION agentdb_merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    merged jsonb := target;
    member record;
BEGIN
    IF jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    IF jsonb_typeof(target) <> 'object' THEN
        merged := '{}';
    END IF;
    FOR member IN SELECT key, value FROM jsonb_each(patch) LOOP
        IF jsonb_typeof(member.value) = 'null' THEN
            merged := merged - member.key;
        ELSE
            merged := merged || jsonb_build_object(
                member.key, agentdb_merge_patch(coalesce(merged -> member.key, 'null'), member.value)
            );
        END IF;
    END LOOP;
    RETURN merged;
END
$$
"""

FUNCTIONS: Final = {
    "agentdb_refuse_change()": _REFUSE_CHANGE.strip(),
    "agentdb_merge_patch(jsonb, jsonb)": _MERGE_PATCH.strip(),
    "agentdb_words(text)": WORDS,
    "agentdb_said(jsonb)": SAID,
    "agentdb_vector_fits()": FITS,
    "agentdb_note_executions()": EXECUTIONS,
    "agentdb_note_node()": NODE,
}


def ship_functions(metadata: MetaData) -> None:
    """Make the functions that PostgreSQL lacks before the tables, and drop them after."""
    for signature, body in FUNCTIONS.items():
        event.listen(metadata, "before_create", on_database("postgresql", body))
        event.listen(metadata, "after_drop", on_database("postgresql", f"DROP FUNCTION IF EXISTS {signature}"))
