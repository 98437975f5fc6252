"""What users connect, and what happened there."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0007"
down_revision = "0006"

TABLES = (
    "integration_connections",
    "integration_events",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    drop_tables(op.get_bind(), TABLES)
