"""Migrating a file that somebody else writes to at that moment."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from agentdb import migrating
from agentdb.config import Settings


async def test_a_migration_begins_when_the_other_writer_has_ended(sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE somebody_elses (id INTEGER PRIMARY KEY)")
        migration = asyncio.create_task(migrating.upgrade(Settings.load(sqlite_url)))
        await asyncio.sleep(0.5)
        assert not migration.done()
        other.execute("COMMIT")

    assert (await migration).after == f"{migrating.head():04}"
