"""The async data layer of an AI-agent platform, on SQLite and PostgreSQL alike.

async with agentdb.connect() as db:                 # the environment decides which; brings the schema up to date
    host = await db.hub.hosts.register(name="box-1")            # one call, one transaction
    async with db.write() as unit:                              # several calls, one transaction
        run = await unit.hub.runs.start(user_id=7, host_id=host.id, model_name="gpt-4o")
        await unit.hub.logs.append(run, [{"role": "llm", "message": "hello"}])
    async with db.read() as unit:                               # cannot write, on either database
        page = await unit.hub.runs.newest(user_id=7)
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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

# Where each name lives. It is imported when it is first asked for: pytest loads this package for its plugin wherever it
# is installed, and the whole of it takes more than half a second.
_HOMES: Final = {
    "agentdb.config": ("Settings",),
    "agentdb.database": ("Database", "Health", "SessionFactory", "connect", "session_factory"),
    "agentdb.errors": (
        "AgentDBError",
        "BadInput",
        "BadSettings",
        "BudgetExceeded",
        "Conflict",
        "Contended",
        "DatabaseCorrupt",
        "DecryptionFailed",
        "InvalidTransition",
        "MissingReference",
        "NotFound",
        "ReadOnly",
        "SchemaMismatch",
        "StaleVersion",
        "Unavailable",
    ),
    "agentdb.page": ("Page",),
    "agentdb.unit": ("Unit",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(home), name)
            return value
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
