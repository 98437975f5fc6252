"""Rotation of as many secrets as a large installation has, under the same pressure as of a few."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

import agentdb
from agentdb.rotation import rotate
from tests.test_rotation import _ROTATOR, _WRITER, NEW, OLD, _line, _many, _opened, _start

MANY: Final = 100_000


@pytest.mark.long
async def test_of_a_hundred_thousand_secrets_none_is_lost_and_none_stays_on_the_old_key(
    database_url: str, tmp_path: Path
) -> None:
    both = f"{NEW},{OLD}"
    async with agentdb.connect(database_url, encryption_keys=both) as db:
        expected = await _many(db, MANY)
        (user,) = (await db.supervisor.users.list()).items
        rows = tmp_path / "rows.json"
        rows.write_text(json.dumps(list(expected)))
        writer = _start(_WRITER, database_url, OLD, str(user.id), str(rows))
        try:
            assert await asyncio.to_thread(_line, writer) == "ready\n"
            done, total = await asyncio.to_thread(_kill_midway, database_url, both)
            resumed = await rotate(db)
        finally:
            told, problem = await asyncio.to_thread(writer.communicate, "stop\n", 60)
        assert writer.returncode == 0, problem
        written = json.loads(told)

        last = await rotate(db)

    assert 0 < done < total
    # The second one did not begin again: what the killed one had moved stayed moved, but for what was written since.
    assert 0 < resumed.resealed <= total - done + len(written) + MANY // 100
    assert (last.left, last.unreadable) == (0, [])
    assert len(written) > 500
    async with agentdb.connect(database_url, encryption_keys=NEW) as db:  # the old key is gone
        found = await _opened(db, db.supervisor.connection.keyring)
    assert {row: value for (_, row), value in found.items()} == expected | written


def _kill_midway(url: str, keys: str) -> tuple[int, int]:
    """Start a rotation, kill it at no particular point between a tenth and a half, and return how far it had come."""
    process = _start(_ROTATOR, url, keys)
    share = random.Random(5).uniform(0.1, 0.5)  # noqa: S311 (the same point each time)
    done, total = 0, 1
    while done < share * total:
        done, total = map(int, _line(process).split())
    try:
        process.wait(0.01)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    _, problem = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, problem
    return done, total
