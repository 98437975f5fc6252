"""One after another within a queue: a lock that is only the queue's name."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import ClauseElement, Executable, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from agentdb.engine.quantities import WholeType


def turn_number(queue: str) -> int:
    """Return the number that stands for a queue: two queues of one number merely wait for each other."""
    return int.from_bytes(hashlib.sha256(f"agentdb queue: {queue}".encode(errors="replace")).digest()[:8], signed=True)


class queue_turn(Executable, ClauseElement):  # noqa: N801 (a SQL statement)
    """Wait until no other transaction has its turn at the queue bound as ``number``, and have it to the end.

    A statement that follows sees what those before have committed. SQLite's one writer need not wait.
    """

    inherit_cache = False

    def __init__(self) -> None:
        self.number = bindparam("number", type_=WholeType())


@compiles(queue_turn, "postgresql")
def _queue_turn_postgresql(element: queue_turn, compiler: SQLCompiler, **kw: Any) -> str:
    return f"SELECT pg_advisory_xact_lock({compiler.process(element.number, **kw)})"


@compiles(queue_turn, "sqlite")
def _queue_turn_sqlite(element: queue_turn, compiler: SQLCompiler, **kw: Any) -> str:
    return f"SELECT 1 WHERE {compiler.process(element.number, **kw)} IS NULL"
