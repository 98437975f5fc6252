"""The functions that note the changes of executions and their nodes on PostgreSQL."""

from __future__ import annotations

from typing import Final

# A statement's executions all at once: a trigger for each row takes as long as the change itself. Rows are matched by
# hash: a plan is kept from a time when there were few. Whoever changes no status needs no right to note one: what
# empties a reference is done, before PostgreSQL 18, with the rights of who removes the other row.
EXECUTIONS: Final = """
CREATE OR REPLACE FUNCTION agentdb_note_executions() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO execution_changes (execution_id, attempt, status, created_at)
        SELECT id, attempt, status, updated_at FROM become ORDER BY id;
    ELSIF EXISTS (SELECT FROM become JOIN been ON been.id = become.id WHERE become.status <> been.status) THEN
        INSERT INTO execution_changes (execution_id, attempt, status, created_at)
        SELECT become.id, become.attempt, become.status, become.updated_at
        FROM become JOIN been ON been.id = become.id
        WHERE become.status <> been.status
        ORDER BY become.id;
    END IF;
    RETURN NULL;
END
$$
""".strip()
NODE: Final = """
CREATE OR REPLACE FUNCTION agentdb_note_node() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO execution_changes (execution_id, node_id, attempt, status, created_at)
    VALUES (NEW.execution_id, NEW.node_id, NEW.attempt, NEW.status, NEW.updated_at);
    RETURN NULL;
END
$$
""".strip()
