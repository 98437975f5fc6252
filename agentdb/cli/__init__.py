"""The ``agentdb`` command: the schema, imports, keys, grants and reports of a database, from a shell.

Exit codes: 0, all went well; 1, done, but there is something to look at (lines that did not go in, a schema that
differs); 2, not done. Errors are one line on the standard error.
"""

from __future__ import annotations

from agentdb.cli import conversations, embed, grants, imports, keys, reports, schema, seed
from agentdb.cli.application import app

__all__ = ["app", "conversations", "embed", "grants", "imports", "keys", "reports", "schema", "seed"]
