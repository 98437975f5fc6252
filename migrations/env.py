"""What Alembic runs for every command: it uses the connection that `agentdb.migrating` hands it, and no other."""

from __future__ import annotations

from typing import Final, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from agentdb.engine.schema.history import Run
from agentdb.errors import BadSettings

_run: Final = context.config.attributes.get("run")
if not isinstance(_run, Run):
    raise BadSettings("migrations run through `agentdb migrate`, or agentdb.migrating: these know which database")


def _rendered(kind: str, item: object, autogenerating: AutogenContext) -> Literal[False]:
    """Import what a proposed migration spells in the vocabulary's own types; the spelling itself is Alembic's."""
    module = type(item).__module__
    if kind == "type" and module.startswith("agentdb."):
        autogenerating.imports.add(f"import {module}")
    return False


context.configure(
    connection=_run.connection,
    target_metadata=_run.metadata,
    version_table_schema=_run.schema,
    include_object=_run.concerns,
    # One transaction for all pending migrations, on both databases.
    transactional_ddl=True,
    transaction_per_migration=False,
    on_version_apply=_run.applied,
    render_item=_rendered,
)
with context.begin_transaction():
    _run.begin()
    context.run_migrations()
    _run.finish(context.get_context().get_current_heads())
