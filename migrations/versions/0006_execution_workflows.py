"""What is to be done, by whom, and how it went."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0006"
down_revision = "0005"

TABLES = (
    "workflows",
    "workflow_versions",
    "executions",
    "execution_logs",
    "execution_changes",
    "agent_sessions",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    op.execute("UPDATE conversations SET session_id = NULL WHERE session_id IS NOT NULL")
    op.execute("UPDATE costs SET execution_id = NULL WHERE execution_id IS NOT NULL")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("fk_conversations__session_id", "conversations")
        op.drop_constraint("fk_costs__execution_id", "costs")
    drop_tables(op.get_bind(), TABLES)
