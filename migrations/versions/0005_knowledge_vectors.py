"""What is remembered: vectors, memories, documents."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0005"
down_revision = "0004"

TABLES = (
    "vector_collections",
    "vectors",
    "memories",
    "knowledge_base",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    drop_tables(op.get_bind(), TABLES)
