"""The function that notes the changes of executions and their nodes on PostgreSQL."""

from __future__ import annotations

from typing import Final

NOTE: Final = """
CREATE OR REPLACE FUNCTION agentdb_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'executions' THEN
        INSERT INTO execution_changes (execution_id, attempt, status, created_at)
        VALUES (NEW.id, NEW.attempt, NEW.status, NEW.updated_at);
    ELSE
        INSERT INTO execution_changes (execution_id, node_id, attempt, status, created_at)
        VALUES (NEW.execution_id, NEW.node_id, NEW.attempt, NEW.status, NEW.updated_at);
    END IF;
    RETURN NULL;
END
$$
""".strip()
