"""Who may act, what they may do, and the proof; and the version of the schema."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0001"
down_revision = None

TABLES = (
    "schema_version",
    "roles",
    "policies",
    "role_policies",
    "users",
    "user_permissions",
    "sessions",
    "passkey_credentials",
    "registration_tokens",
    "api_keys",
    "audit_log",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    drop_tables(op.get_bind(), TABLES)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION agentdb_refuse_change()")
        op.execute("DROP FUNCTION agentdb_merge_patch(jsonb, jsonb)")
        op.execute("DROP FUNCTION agentdb_words(text)")
        op.execute("DROP FUNCTION agentdb_said(jsonb)")
        op.execute("DROP FUNCTION agentdb_vector_fits()")
        op.execute("DROP FUNCTION agentdb_note_executions()")
        op.execute("DROP FUNCTION agentdb_note_node()")
