"""`agentdb migrate-conversations`: once for each conversation, whoever dies in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from agentdb.conversation.models import Conversation
from agentdb.database import Database, connect
from agentdb.execution.models import AgentSessionStatus
from agentdb.testing.factories import make_conversation, make_user


async def test_each_conversation_of_an_agent_gets_one_completed_session(db: Database) -> None:
    user = (await make_user(db)).id
    agent = (await db.catalog.agents.create("worker")).id
    other = (await db.catalog.agents.create("other")).id
    by_column = await make_conversation(db, user_id=user, agent_id=agent, messages=3)
    named = {"agent_id": str(other), "agent_context": {"goal": "x"}}
    by_metadata = await make_conversation(db, user_id=user, metadata=named)
    nobodys = await make_conversation(db, user_id=user)
    strange: list[Any] = [10**9, "cuid", True, []]
    unknown = [await make_conversation(db, user_id=user, metadata={"agent_id": named}) for named in strange]
    deleted = await make_conversation(db, user_id=user, agent_id=agent)
    await db.conversation.conversations.delete(deleted.id)
    begun = await make_conversation(db, user_id=user, agent_id=agent)
    session = await db.execution.agent_sessions.start(user_id=user, agent_id=agent, conversation_id=begun.id)

    would = await db.execution.agent_sessions.adoptable()
    unchanged = await db.execution.agent_sessions.count()
    done = await db.execution.agent_sessions.adopt()
    again = await db.execution.agent_sessions.adopt()

    assert unchanged == 1
    assert would == done
    assert (done.examined, done.created, done.of_nobody, done.begun) == (7, 2, 1, 0)
    assert [left.conversation_id for left in done.left_out] == [one.id for one in unknown]
    assert done.left_out[1].reason == "there is no agent 'cuid'"
    assert (again.examined, again.created, again.left_out) == (5, 0, done.left_out)
    conversations = {one.id: one for one in (await db.conversation.conversations.page(limit=50)).items}
    first = await db.execution.agent_sessions.get(conversations[by_column.id].session_id)
    assert (first.agent_id, first.conversation_id, first.status) == (agent, by_column.id, AgentSessionStatus.completed)
    assert (first.started_at, first.messages_count) == (by_column.created_at, 3)
    assert first.completed_at == conversations[by_column.id].last_message_at
    second = await db.execution.agent_sessions.get(conversations[by_metadata.id].session_id)
    assert (second.agent_id, second.context) == (other, {"goal": "x"})
    assert conversations[nobodys.id].session_id is None
    assert conversations[begun.id].session_id == session.id
    assert await db.execution.agent_sessions.count() == 3


async def test_processes_at_once_make_each_session_once(db: Database) -> None:
    user = (await make_user(db)).id
    agent = (await db.catalog.agents.create("worker")).id
    for _ in range(30):
        await make_conversation(db, user_id=user, agent_id=agent)

    async def all_of_it() -> int:
        after, created = 0, 0
        while (step := await db.execution.agent_sessions.adopt(after=after, limit=7)).last is not None:
            after, created = step.last, created + step.created
        return created

    assert sum(await asyncio.gather(*(all_of_it() for _ in range(4)))) == 30
    assert await db.execution.agent_sessions.count() == 30


async def _many(url: str, folder: Path, conversations: int) -> None:
    async with connect(url, folder=folder) as db:
        user = (await make_user(db)).id
        agent = (await db.catalog.agents.create("worker")).id
        await db.conversation.conversations.add_many({"user_id": user, "agent_id": agent} for _ in range(conversations))


@pytest.mark.long
async def test_a_command_that_is_killed_is_finished_by_the_next(database_url: str, tmp_path: Path) -> None:
    await _many(database_url, tmp_path, 400)
    environment = {**os.environ, "AGENTDB_URL": database_url, "AGENTDB_FOLDER": str(tmp_path)}
    command = [sys.executable, "-m", "agentdb", "migrate-conversations", "--json"]

    victim = await asyncio.create_subprocess_exec(*command, "--batch", "1", env=environment)
    async with connect(database_url, folder=tmp_path) as db:
        while await db.execution.agent_sessions.count() == 0:
            assert victim.returncode is None
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        left = 400 - await db.execution.agent_sessions.count()
        finisher = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        told, _ = await finisher.communicate()

        assert victim.returncode == -signal.SIGKILL
        assert finisher.returncode == 0
        assert json.loads(told) == {"examined": left, "created": left, "of_nobody": 0, "begun": 0, "left_out": []}
        assert await db.execution.agent_sessions.count() == 400
        assert await db.conversation.conversations.count(session_id=None) == 0


async def test_whoever_takes_a_session_away_leaves_its_conversation(db: Database) -> None:
    agent = (await db.catalog.agents.create("worker")).id
    talk = await make_conversation(db, agent_id=agent)
    await db.execution.agent_sessions.adopt()
    async with db.write() as unit:
        await unit.session.execute(update(Conversation).values(session_id=None))

    again = await db.execution.agent_sessions.adopt()

    assert (again.examined, again.created, again.begun) == (1, 0, 1)
    assert (await db.conversation.conversations.get(talk.id)).session_id is None
    assert await db.execution.agent_sessions.count() == 1


@pytest.mark.long
async def test_a_dry_run_tells_the_same_and_does_nothing(database_url: str, tmp_path: Path) -> None:
    async with connect(database_url, folder=tmp_path) as db:
        user = (await make_user(db)).id
        agent = (await db.catalog.agents.create("worker")).id
        await make_conversation(db, user_id=user, agent_id=agent)
        await make_conversation(db, user_id=user)
        unknown = await make_conversation(db, user_id=user, metadata={"agent_id": 10**9})
        environment = {**os.environ, "AGENTDB_URL": database_url, "AGENTDB_FOLDER": str(tmp_path)}

        async def command(*options: str) -> tuple[int | None, str, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agentdb", "migrate-conversations", *options),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            told, complained = await process.communicate()
            return process.returncode, told.decode(), complained.decode()

        dry, counted = await command("--dry-run", "--json"), await db.execution.agent_sessions.count()
        wet = await command()
        created = await db.execution.agent_sessions.count()

    reason = f"there is no agent {10**9}"
    assert (counted, created) == (0, 1)
    assert (dry[0], wet[0]) == (1, 1)
    assert json.loads(dry[1]) == {
        "examined": 3,
        "created": 1,
        "of_nobody": 1,
        "begun": 0,
        "left_out": [{"conversation_id": unknown.id, "reason": reason}],
    }
    assert wet[1].splitlines() == [
        "1 of 3 conversations without a session got one",
        "conversations that name no agent: 1",
    ]
    assert f"conversation {unknown.id}: {reason}\n" in wet[2]
