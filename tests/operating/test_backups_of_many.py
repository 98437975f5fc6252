"""A backup of as many rows as a large installation has, while another process writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from agentdb.config import Settings
from agentdb.database import Database
from agentdb.operating.backups import Backup, backup
from agentdb.operating.digests import table_digests
from agentdb.operating.restoring import restore
from agentdb.testing.factories import make_run_session

pytestmark = pytest.mark.long

MANY: Final = 1_000_000

# Adds a user and a conversation in each transaction, until its input ends, and tells how many.
_WRITING: Final = """
import asyncio, sys
import agentdb
from agentdb.testing.factories import make_conversation, make_user

async def main():
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    written = 0
    async with agentdb.connect(sys.argv[1]) as db:
        print("ready", flush=True)
        while not ended.done():
            async with db.write() as unit:
                await make_conversation(unit, user_id=(await make_user(unit, username=f"w{written}")).id)
            written += 1
            await asyncio.sleep(0.02)  # leaves the other core to the backup
    print(written)

asyncio.run(main())
"""


async def _large(db: Database, rows: int) -> None:
    """Add lines to the log of one run, by one statement."""
    session = await make_run_session(db)
    lines = text(
        "INSERT INTO context_log (run_session_id, host_id, role, message, created_at)"
        " WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)"
        " SELECT :session, :host, 'llm', 'line ' || n, :now FROM numbers"
    )
    async with db.write() as unit:
        given = {"rows": rows, "session": session.id, "host": session.host_id, "now": session.created_at.isoformat()}
        await unit.session.execute(lines, given)


def _writing(url: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _WRITING, url]
    writer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


async def _saved_under_load(folder: Path, rows: int) -> Backup:
    """Return a backup that was made while another process wrote."""
    url = f"sqlite:///{folder / 'a.db'}"
    settings = Settings.load(url, folder=folder / "data")
    async with Database(settings) as db:
        await _large(db, rows)
    writer = await asyncio.to_thread(_writing, url)
    try:
        made = await backup(settings, folder / "backups")
    finally:
        written, _ = await asyncio.to_thread(writer.communicate, "", 300)

    tables = made.manifest.contents.tables
    assert made.manifest.verified
    assert tables["context_log"].rows == rows
    assert tables["users"].rows - 1 == tables["conversations"].rows <= int(written)
    assert int(written) > 10
    return made


async def test_a_file_that_another_process_writes_is_saved_as_of_one_moment(tmp_path: Path) -> None:
    made = await _saved_under_load(tmp_path, 5_000)
    elsewhere = Settings.load(f"sqlite:///{tmp_path / 'b.db'}", folder=tmp_path / "other")

    await restore(made.path, elsewhere)

    async with Database(elsewhere) as db:
        assert await table_digests(db) == made.manifest.contents.tables


async def test_a_million_rows_are_saved_and_verified_while_another_process_writes(tmp_path: Path) -> None:
    await _saved_under_load(tmp_path, MANY)
