"""Agents' sessions for tests, and how each status is reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from agentdb.database import Database
from agentdb.execution.models import AgentSession
from agentdb.testing.factories import make_user

Move = Callable[[Database, int], Awaitable[AgentSession]]

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)

MOVES: dict[str, Move] = {
    "running": lambda db, key: db.execution.agent_sessions.resume(key),
    "paused": lambda db, key: db.execution.agent_sessions.pause(key),
    "completed": lambda db, key: db.execution.agent_sessions.complete(key),
    "failed": lambda db, key: db.execution.agent_sessions.fail(key, "it broke"),
}
ALLOWED = {
    ("running", "paused"),
    ("running", "completed"),
    ("running", "failed"),
    ("paused", "running"),
    ("paused", "completed"),
    ("paused", "failed"),
    ("failed", "running"),
}


async def make_agent(db: Database) -> int:
    return (await db.catalog.agents.create("worker", user_id=None)).id


async def start(db: Database, **details: Any) -> AgentSession:
    user_id = details.pop("user_id", None) or (await make_user(db)).id
    agent_id = details.pop("agent_id", None) or await make_agent(db)
    return await db.execution.agent_sessions.start(user_id=user_id, agent_id=agent_id, **details)
