"""Agents' sessions under two processes: of two changes one wins, and what both add is kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from agentdb.database import connect
from agentdb.execution.models import AgentSession
from agentdb.testing.factories import make_user

SESSIONS = 40

_WORKER = """
import asyncio, json, sys, agentdb
from agentdb.errors import InvalidTransition

async def main():
    name, *keys = sys.argv[2:]
    async with agentdb.connect(sys.argv[1], migrate="never") as db:
        sessions, won = db.execution.agent_sessions, []
        print("ready", flush=True)
        sys.stdin.readline()
        for key in map(int, keys):
            number = await sessions.checkpoint(key, name)
            await sessions.patch(key, variables={name: number})
            print("added", flush=True)
            sys.stdin.readline()
            try:
                await (sessions.complete(key) if name == "a" else sessions.complete(key, checkpoint="last"))
                won.append(key)
            except InvalidTransition:
                pass
        print(json.dumps(won))

asyncio.run(main())
"""


@pytest.mark.long
async def test_of_two_processes_one_ends_each_session_and_both_keep_what_they_added(
    database_url: str, tmp_path: Path
) -> None:
    async with connect(database_url, folder=tmp_path) as db:
        user, agent = await make_user(db), await db.catalog.agents.create("worker")
        made = [await db.execution.agent_sessions.start(user_id=user.id, agent_id=agent.id) for _ in range(SESSIONS)]
        workers = [await _worker(database_url, tmp_path, name, made) for name in "ab"]

        for _ in range(1 + SESSIONS):  # both are ready, and then, for each session, both have added to it
            for worker in workers:
                assert worker.stdout is not None
                assert await worker.stdout.readline()
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write(b"go\n")
        won = [set(json.loads((await worker.communicate())[0])) for worker in workers]

        assert not won[0] & won[1]
        assert won[0] | won[1] == {one.id for one in made}
        for one in made:
            stored = await db.execution.agent_sessions.get(one.id)
            assert (stored.status, stored.version) == ("completed", 2)
            states = [checkpoint["state"] for checkpoint in stored.checkpoints]
            assert sorted(states[:2]) == ["a", "b"]
            assert stored.variables == {name: states.index(name) + 1 for name in "ab"}
            assert (len(states) == 3) is (one.id in won[1])


async def _worker(url: str, folder: Path, name: str, made: list[AgentSession]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WORKER,
        url,
        name,
        *(str(one.id) for one in made),
        env={**os.environ, "AGENTDB_FOLDER": str(folder)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
