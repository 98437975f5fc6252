"""The async data layer of an AI-agent platform, on SQLite and PostgreSQL alike.

async with agentdb.connect() as db:                 # the environment decides which; brings the schema up to date
    host = await db.hub.hosts.register(name="box-1")            # one call, one transaction
    async with db.write() as unit:                              # several calls, one transaction
        run = await unit.hub.runs.start(user_id=7, host_id=host.id, model_name="gpt-4o")
        await unit.hub.logs.append(run, [{"role": "llm", "message": "hello"}])
    async with db.read() as unit:                               # cannot write, on either database
        page = await unit.hub.runs.newest(user_id=7)
"""

from agentdb.config import Settings
from agentdb.database import Database, Health, SessionFactory, connect, session_factory
from agentdb.errors import (
    AgentDBError,
    BadInput,
    BadSettings,
    BudgetExceeded,
    Conflict,
    Contended,
    DatabaseCorrupt,
    DecryptionFailed,
    InvalidTransition,
    MissingReference,
    NotFound,
    ReadOnly,
    SchemaMismatch,
    StaleVersion,
    Unavailable,
)
from agentdb.page import Page
from agentdb.unit import Unit

__all__ = [
    "AgentDBError",
    "BadInput",
    "BadSettings",
    "BudgetExceeded",
    "Conflict",
    "Contended",
    "Database",
    "DatabaseCorrupt",
    "DecryptionFailed",
    "Health",
    "InvalidTransition",
    "MissingReference",
    "NotFound",
    "Page",
    "ReadOnly",
    "SchemaMismatch",
    "SessionFactory",
    "Settings",
    "StaleVersion",
    "Unavailable",
    "Unit",
    "connect",
    "session_factory",
]
