"""The changes of executions and their nodes, noted by the database itself: within each statement, whoever makes it."""

from __future__ import annotations

from sqlalchemy import Table, event

from agentdb.engine.schema.ddl import on_database


def note_statuses(executions: Table, logs: Table) -> None:
    """Let each status that an execution or a node comes to be a row of ``execution_changes``.

    A node's is noted too when it is written anew as it was: it has begun again.

    A copy of a database leaves these rows out, or lets no trigger fire: the rows that are copied would note themselves.
    """
    changed = " WHEN (NEW.status <> OLD.status)"
    _note(executions, "execution_id, attempt", "NEW.id, NEW.attempt", changed)
    _note(logs, "execution_id, node_id, attempt", "NEW.execution_id, NEW.node_id, NEW.attempt", "")


def _note(table: Table, columns: str, values: str, changed: str) -> None:
    for verb, event_, condition in (("insert", "INSERT", ""), ("update", "UPDATE OF status", changed)):
        trigger = f"CREATE TRIGGER tr_{table.name}__note_{verb} AFTER {event_} ON {table.name}"
        note = (
            f"INSERT INTO execution_changes ({columns}, status, created_at) "
            f"VALUES ({values}, NEW.status, NEW.updated_at)"
        )
        for database, statement in (
            ("postgresql", f"{trigger} FOR EACH ROW{condition} EXECUTE FUNCTION agentdb_note_change()"),
            ("sqlite", f"{trigger}{condition} BEGIN {note}; END"),
        ):
            event.listen(table, "after_create", on_database(database, statement))
