"""Several processes on one database: no error, all rows there, no gap."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import agentdb

_WORKER = """
import asyncio, sys, agentdb
async def main(url, name, conversation):
    async with agentdb.connect(url) as db:
        async def work(number):
            await db.supervisor.users.add(username=f"{name}-{number}")
            await db.conversation.messages.append(conversation, "user", f"{name}-{number}")
            async with db.write() as unit:
                await unit.conversation.messages.append(conversation, "user", f"{name}-{number}-again")
        await asyncio.gather(*(work(number) for number in range(12)))
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
_OPENER = """
import asyncio, sys, agentdb
async def main():
    async with agentdb.connect(sys.argv[1]): pass
asyncio.run(main())
"""


def _together(code: str, *arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, *own], stderr=subprocess.PIPE, text=True, env=environment)
        for own in arguments
    ]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error


@pytest.mark.long
async def test_four_processes_write_without_error_and_without_gaps(database_url: str) -> None:
    async with agentdb.connect(database_url) as db:
        user = await db.supervisor.users.add(username="bob")
        conversation = (await db.conversation.conversations.create(user_id=user.id)).id

        _together(_WORKER, *([database_url, name, str(conversation)] for name in "abcd"))

        messages = await db.conversation.messages.latest(conversation, limit=1000)
        assert [message.position for message in messages] == list(range(1, 4 * 24 + 1))
        assert await db.supervisor.users.count() == 1 + 4 * 12


@pytest.mark.long
def test_four_processes_open_a_new_database_at_once(database_url: str) -> None:
    _together(_OPENER, *([database_url] for _ in range(4)))
