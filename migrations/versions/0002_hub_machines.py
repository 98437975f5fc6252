"""What the machines of one installation share: runs, spending, mail, settings."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0002"
down_revision = "0001"

TABLES = (
    "hosts",
    "user_hosts",
    "user_notifications",
    "runs",
    "run_session",
    "mail_messages",
    "mail_recipients",
    "attachments",
    "context_log",
    "mail_attachments",
    "config_revisions",
    "variables",
    "costs",
    "spend_limits",
    "cost_reservations",
    "cost_days",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    drop_tables(op.get_bind(), TABLES)
