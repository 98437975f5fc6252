"""The changes of executions and their nodes, noted by the database itself: within each statement, whoever makes it."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Table, event

from agentdb.engine.schema.ddl import on_database


def note_statuses(executions: Table, logs: Table) -> None:
    """Let each status that an execution or a node comes to be a row of ``execution_changes``.

    A node's is noted too when it is written anew as it was: it has begun again.

    A copy of a database leaves these rows out, or lets no trigger fire: the rows that are copied would note themselves.
    """
    become, been = "NEW TABLE AS become", "OLD TABLE AS been"
    call = "FOR EACH STATEMENT EXECUTE FUNCTION agentdb_note_executions()"
    _note(
        executions,
        {
            "insert": (f"AFTER INSERT ON executions REFERENCING {become} {call}", "AFTER INSERT ON executions"),
            "update": (
                f"AFTER UPDATE ON executions REFERENCING {become} {been} {call}",
                "AFTER UPDATE OF status ON executions WHEN (NEW.status <> OLD.status)",
            ),
        },
        "INSERT INTO execution_changes (execution_id, attempt, status, created_at)"
        " VALUES (NEW.id, NEW.attempt, NEW.status, NEW.updated_at)",
    )
    begins, goes_on = "AFTER INSERT ON execution_logs", "AFTER UPDATE OF status ON execution_logs"
    call = "FOR EACH ROW EXECUTE FUNCTION agentdb_note_node()"
    _note(
        logs,
        {"insert": (f"{begins} {call}", begins), "update": (f"{goes_on} {call}", goes_on)},
        "INSERT INTO execution_changes (execution_id, node_id, attempt, status, created_at)"
        " VALUES (NEW.execution_id, NEW.node_id, NEW.attempt, NEW.status, NEW.updated_at)",
    )


def _note(table: Table, when: Mapping[str, tuple[str, str]], note: str) -> None:
    """Make a table's triggers: those of PostgreSQL call a function, those of SQLite say the statement themselves."""
    for verb, (called, begun) in when.items():
        trigger = f"CREATE TRIGGER tr_{table.name}__note_{verb}"
        event.listen(table, "after_create", on_database("postgresql", f"{trigger} {called}"))
        event.listen(table, "after_create", on_database("sqlite", f"{trigger} {begun} BEGIN {note}; END"))
