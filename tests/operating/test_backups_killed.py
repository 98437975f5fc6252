"""A backup and a restoration that are killed at any moment: the database is whole, and the command can be run again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from agentdb import migrating
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.operating.backups import backup
from agentdb.operating.digests import table_digests
from agentdb.operating.restoring import restore
from agentdb.operating.workplaces import UNFINISHED
from agentdb.testing.factories import make_user
from tests.operating.filled import fill

pytestmark = pytest.mark.long

# Does it, and kills itself when it is told for the given time how far it is; tells how often it was told.
_DOING: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from agentdb.config import Settings
from agentdb.operating.backups import backup
from agentdb.operating.restoring import restore

what, url, folder, path, last = sys.argv[1:]
told = 0

def tell(what, done, total):
    global told
    told += 1
    print(what, flush=True)
    if told == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    settings = Settings.load(url, folder=Path(folder))
    if what == "backup":
        await backup(settings, Path(path), on_progress=tell)
    else:
        await restore(Path(path), settings, force=True, on_progress=tell)

asyncio.run(main())
"""


def _start(what: str, settings: Settings, path: Path, last: int = 0) -> subprocess.Popen[str]:
    words = [what, str(settings.url), str(settings.folder), str(path), str(last)]
    return subprocess.Popen([sys.executable, "-c", _DOING, *words], stdout=subprocess.PIPE, text=True, env=os.environ)


def _run(what: str, settings: Settings, path: Path, last: int = 0) -> list[str]:
    """Return what it told, up to where it was killed, if it was."""
    process = _start(what, settings, path, last)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == (-signal.SIGKILL if last else 0)
    return told.splitlines()


def _points(told: list[str]) -> list[int]:
    """Return one moment of each stage: its last."""
    return [place for place, what in enumerate(told, 1) if told[place : place + 1] != [what]]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Return the settings of an empty database; the test runs on both."""
    return Settings.load(database_url, folder=tmp_path / "data")


async def _digests(settings: Settings) -> Any:
    async with Database(settings) as db:
        return await table_digests(db)


async def test_a_backup_killed_in_any_stage_is_not_there_and_the_next_one_clears_away_what_it_left(
    settings: Settings, tmp_path: Path
) -> None:
    async with Database(settings) as db:
        await fill(db)
        before = await table_digests(db)
    told = await asyncio.to_thread(_run, "backup", settings, tmp_path / "measured")
    folder = tmp_path / "backups"

    points = [point for point in _points(told) if told[point - 1] != "finished"]
    for point in points:
        await asyncio.to_thread(_run, "backup", settings, folder, point)
        assert [path.name for path in folder.iterdir() if not path.name.startswith(UNFINISHED)] == []
        assert len(list(folder.iterdir())) == 1
    await asyncio.to_thread(_run, "backup", settings, folder)

    assert len(points) >= 4
    (made,) = folder.iterdir()
    assert await _digests(settings) == before
    await restore(made, settings, force=True)
    assert await _digests(settings) == before
    assert await migrating.check(settings) == []


async def test_a_restoration_killed_in_any_stage_leaves_the_one_or_the_other(
    settings: Settings, tmp_path: Path
) -> None:
    async with Database(settings) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups")
        await make_user(db)
        await make_user(db)
        before = await table_digests(db)
    expected = made.manifest.contents.tables
    told = await asyncio.to_thread(_run, "restore", settings, made.path)
    assert await _digests(settings) == expected

    for point in _points(told):
        async with Database(settings) as db:
            await make_user(db)
        before = await _digests(settings)
        await asyncio.to_thread(_run, "restore", settings, made.path, point)
        assert await _digests(settings) in (before, expected)
        assert await migrating.check(settings) == []

    await asyncio.to_thread(_run, "restore", settings, made.path)
    assert await _digests(settings) == expected
    assert len(_points(told)) >= 4


async def test_a_restoration_killed_while_rows_go_in_leaves_the_one_or_the_other(
    settings: Settings, tmp_path: Path
) -> None:
    """It is killed from outside, ever later after it began to change the database."""
    async with Database(settings) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups")
    expected = made.manifest.contents.tables
    seen = set()

    for milliseconds in (0, 20, 60, 120, 250, 500, 1000):
        async with Database(settings) as db:
            await make_user(db)
        before = await _digests(settings)
        await asyncio.to_thread(_kill_late, settings, made.path, milliseconds / 1000)
        found = await _digests(settings)
        assert found in (before, expected)
        seen.add(found == expected)
        assert await migrating.check(settings) == []

    assert False in seen
    await restore(made.path, settings, force=True)
    assert await _digests(settings) == expected


def _kill_late(settings: Settings, path: Path, seconds: float) -> None:
    process = _start("restore", settings, path)
    begun = "restoring tables" if settings.target.kind == "postgresql" else "migrating"
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(begun):
            break
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)
