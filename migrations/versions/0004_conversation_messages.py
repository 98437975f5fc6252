"""What was said."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0004"
down_revision = "0003"

TABLES = (
    "conversations",
    "messages",
    "resources",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    op.execute("UPDATE costs SET message_id = NULL WHERE message_id IS NOT NULL")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("fk_costs__message_id", "costs")
    drop_tables(op.get_bind(), TABLES)
