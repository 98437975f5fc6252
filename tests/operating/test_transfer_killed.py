"""Transfers that are killed at any moment, and one that is long: the source is as it was, and the command goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from agentdb import migrating
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import SchemaMismatch
from agentdb.operating.digests import table_digests
from agentdb.operating.transferring import transfer
from agentdb.testing.factories import make_conversation, make_run_session, make_user
from tests.operating import strange

pytestmark = pytest.mark.long

# Does it, and kills itself when it is told for the given time how far it is.
_DOING: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from agentdb.config import Settings
from agentdb.operating.transferring import transfer

source, target, folder, last = sys.argv[1:]
told = 0

def tell(what, done, total):
    global told
    told += 1
    if told == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(transfer(*(Settings.load(url, folder=Path(folder)) for url in (source, target)), on_progress=tell))
"""


def _run(source: Settings, target: Settings, last: int) -> int:
    words = [str(source.url), str(target.url), str(source.folder), str(last)]
    return subprocess.run([sys.executable, "-c", _DOING, *words], env=os.environ, check=False).returncode


async def _digests(settings: Settings) -> Any:
    async with Database(settings) as db:
        return await table_digests(db)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_killed_transfer_leaves_the_source_as_it_was_and_goes_on(
    kind: str, postgresql_url: str, tmp_path: Path
) -> None:
    source = Settings.load(f"sqlite:///{tmp_path / 'a.db'}", folder=tmp_path / "data")
    url = postgresql_url if kind == "postgresql" else f"sqlite:///{tmp_path / 'b.db'}"
    target = Settings.load(url, folder=tmp_path / "data")
    await migrating.upgrade(source)
    strange.fill(tmp_path / "a.db")
    expected = await _digests(source)

    killed = [_run(source, target, last) for last in (1, 2, 4, 12, 24, 40, 60, 85, 104)]

    assert set(killed) == {-signal.SIGKILL}
    assert await _digests(source) == expected
    with pytest.raises(SchemaMismatch):
        await _digests(target)
    done = await transfer(source, target)
    assert done.resumed > 0
    assert not done.began_over
    assert await _digests(target) == expected
    assert await migrating.check(target) == []


ROWS: Final = 40_000


async def test_a_long_transfer_moves_thousands_of_rows_a_second(
    postgresql_url: str, tmp_path: Path, record_property: Any
) -> None:
    """Tells how fast; how fast it is on a machine that others load says nothing, and is not asserted."""
    source = Settings.load(f"sqlite:///{tmp_path / 'a.db'}", folder=tmp_path / "data")
    target = Settings.load(postgresql_url, folder=tmp_path / "data")
    await _fill_many(source, tmp_path / "a.db")

    done = await transfer(source, target)

    record_property("rows_per_second", round(done.copied / done.seconds))
    assert done.rows >= 3 * ROWS
    assert await migrating.check(target) == []  # with each index that was made anew
    assert await _digests(target) == await _digests(source)


async def _fill_many(source: Settings, path: Path) -> None:
    async with Database(source) as db:
        user = await make_user(db)
        session = await make_run_session(db, user_id=user.id)
        conversation = await make_conversation(db, user_id=user.id)
    with closing(sqlite3.connect(path)) as database:
        database.executemany(
            "INSERT INTO context_log (run_session_id, role, source, type, message, created_at)"
            " VALUES (?, 'llm', 'console', 'comment', ?, '2026-01-01T00:00:00.000001+00:00')",
            ((session.id, f"line {number} of what the model said " * 4) for number in range(ROWS)),
        )
        database.executemany(
            "INSERT INTO costs (user_id, run_session_id, source, model, cost, input_tokens)"
            " VALUES (?, ?, 'console', 'model', ?, ?)",
            ((user.id, session.id, number * 1000, number) for number in range(ROWS)),
        )
        database.executemany(
            "INSERT INTO messages (conversation_id, role, content, position) VALUES (?, 'user', ?, ?)",
            ((conversation.id, f'[{{"type":"text","text":"message {number}"}}]', number + 1) for number in range(ROWS)),
        )
        database.commit()
