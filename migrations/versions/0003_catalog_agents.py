"""What an agent can be made of: providers, models, prompts, tools."""

from __future__ import annotations

from alembic import op

from agentdb.engine.schema.scripts import drop_tables, run_script

revision = "0003"
down_revision = "0002"

TABLES = (
    "providers",
    "models",
    "prompts",
    "tools",
    "agents",
    "user_agents",
    "user_tools",
    "agent_tools",
)


def upgrade() -> None:
    """Make the tables, and all that belongs to them."""
    run_script(op.get_bind(), __file__)


def downgrade() -> None:
    """Drop them, and what older tables hold of them."""
    op.execute("DELETE FROM api_keys WHERE provider_id IS NOT NULL")
    op.execute("UPDATE cost_days SET agent_id = NULL WHERE agent_id IS NOT NULL")
    op.execute("UPDATE costs SET agent_id = NULL WHERE agent_id IS NOT NULL")
    op.execute("UPDATE costs SET model_id = NULL WHERE model_id IS NOT NULL")
    op.execute("UPDATE users SET agent_id = NULL WHERE agent_id IS NOT NULL")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("fk_api_keys__provider_id", "api_keys")
        op.drop_constraint("fk_cost_days__agent_id", "cost_days")
        op.drop_constraint("fk_costs__agent_id", "costs")
        op.drop_constraint("fk_costs__model_id", "costs")
        op.drop_constraint("fk_users__agent_id", "users")
    drop_tables(op.get_bind(), TABLES)
