"""Tables of a million rows, written by the servers themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

import asyncpg

from agentdb.execution.models import Workflow
from benchmarks.adapter import Place
from benchmarks.seeding import POSTGRESQL, SQLITE, Spelling

OWNERS: Final = 10
_SAID: Final = '"What is the weather like in Lisbon tomorrow, and do I need an umbrella?"'


async def grow_executions(place: Place, workflow: Workflow, many: int) -> None:
    """Store executions that are finished."""

    def written(spelled: Spelling) -> str:
        return (
            "INSERT INTO executions (uuid, workflow_id, user_id, status, output, attempt, available_at, started_at,"
            " completed_at, created_at, updated_at) "
            f"SELECT {spelled.uuid}, {workflow.id}, {workflow.user_id}, 'completed', ('{{}}'){spelled.json}, 1,"
            f" {', '.join([spelled.earlier] * 5)} FROM {spelled.to(many)} AS s ORDER BY n"
        )

    await _write(place, written)


async def grow_conversations(place: Place, first_owner: int, many: int) -> None:
    """Store conversations of some users."""

    def written(spelled: Spelling) -> str:
        return (
            "INSERT INTO conversations"
            " (uuid, user_id, title, session_context, metadata, last_message_at, created_at, updated_at) "
            f"SELECT {spelled.uuid}, {first_owner} + n % {OWNERS}, 'Conversation ' || n, ('{{}}'){spelled.json},"
            f" ('{{}}'){spelled.json}, {', '.join([spelled.earlier] * 3)} FROM {spelled.to(many)} AS s ORDER BY n"
        )

    await _write(place, written)


async def grow_messages(place: Place, conversation: int, many: int) -> None:
    """Store the messages of an empty conversation."""

    def written(spelled: Spelling) -> str:
        return (
            "INSERT INTO messages (conversation_id, position, role, content, metadata, created_at, updated_at) "
            f"SELECT {conversation}, n, 'user', ('{_SAID}'){spelled.json}, ('{{}}'){spelled.json}, {spelled.now},"
            f" {spelled.now} FROM {spelled.to(many)} AS s ORDER BY n"
        )

    def moved(_: Spelling) -> str:
        return f"UPDATE conversations SET last_position = {many} WHERE id = {conversation}"

    await _write(place, written, moved)


async def _write(place: Place, *statements: Callable[[Spelling], str]) -> None:
    """Run statements, let the database count what it holds, and settle it."""
    if place.path is not None:
        raw = sqlite3.connect(place.path, isolation_level=None)
        try:
            for statement in [*(written(SQLITE) for written in statements), "ANALYZE"]:
                raw.execute(statement)
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            raw.close()
        return
    connection = await asyncpg.connect(**place.server)
    try:
        for statement in [*(written(POSTGRESQL) for written in statements), "VACUUM ANALYZE", "CHECKPOINT"]:
            await connection.execute(statement)
    finally:
        await connection.close()
