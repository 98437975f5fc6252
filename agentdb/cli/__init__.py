"""The ``agentdb`` command: the schema, imports, keys, grants and reports of a database, from a shell.

Exit codes: 0, all went well; 1, done, but there is something to look at (lines that did not go in, a schema that
differs); 2, not done. Errors are one line on the standard error.
"""

from __future__ import annotations

from agentdb.cli import (
    backup,
    conversations,
    doctor,
    embed,
    grants,
    imports,
    keys,
    pull,
    rebuild,
    reports,
    retention,
    schema,
    seed,
    stats,
    studio,
    transfer,
)
from agentdb.cli.application import app

__all__ = [
    "app",
    "backup",
    "conversations",
    "doctor",
    "embed",
    "grants",
    "imports",
    "keys",
    "pull",
    "rebuild",
    "reports",
    "retention",
    "schema",
    "seed",
    "stats",
    "studio",
    "transfer",
]
