"""The locks this process holds on its database file."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import agentdb
from agentdb import migrating
from agentdb.config import Settings

VISIT = """
import sqlite3, sys
visitor = sqlite3.connect(sys.argv[1])
visitor.execute("SELECT count(*) FROM users").fetchone()
visitor.close()
"""


async def test_a_migration_beside_an_open_database_does_not_drop_its_locks(sqlite_url: str) -> None:
    """Closing any descriptor of the file would: the next process to leave would then take the log with it."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    async with agentdb.connect(sqlite_url) as db:
        await db.supervisor.users.create(username="before")
        await migrating.upgrade(Settings.load(sqlite_url))
        async with agentdb.connect(sqlite_url):
            pass
        inode = path.with_name(f"{path.name}-wal").stat().st_ino

        visitor = await asyncio.create_subprocess_exec(sys.executable, "-c", VISIT, str(path))
        assert await visitor.wait() == 0
        await db.supervisor.users.create(username="after")

        assert path.with_name(f"{path.name}-wal").stat().st_ino == inode
        other = sqlite3.connect(path)
        assert other.execute("SELECT count(*) FROM users").fetchone() == (2,)
        other.close()
