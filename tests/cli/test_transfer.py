"""``agentdb transfer``: what it writes, and how it ends."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

import agentdb
from agentdb.testing.factories import make_user

Command = Callable[..., Result]


def _add_users(url: str, folder: Path) -> None:
    async def add() -> None:
        async with agentdb.connect(url, folder=folder) as db:
            user = await make_user(db)
            await make_user(db)
            await db.hub.attachments.store(b"file", filename="a", uploaded_by=user.id, purpose="mail")

    asyncio.run(add())


@pytest.mark.long
def test_a_database_is_moved_and_what_it_lacks_ends_with_one(
    command: Command, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("OLD_URL", database_url)
    path = tmp_path / "new" / "agentdb.db"
    target = f"sqlite:///{path}"
    _add_users(database_url, tmp_path / "data")

    moved = command("transfer", "env:OLD_URL", target, "--target-folder", tmp_path / "new", "--json")
    refused = command("transfer", "env:OLD_URL", target, "--target-folder", tmp_path / "new")
    unset = command("transfer", "env:NO_URL", target)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM users WHERE id = 1")
        database.commit()
    onward = command("transfer", target, f"sqlite:///{tmp_path / 'end.db'}", "--source-folder", tmp_path / "none")

    assert (moved.exit_code, refused.exit_code, unset.exit_code, onward.exit_code) == (0, 2, 2, 1)
    told = json.loads(moved.stdout)
    assert (told["tables"]["users"], told["files"], told["missing"], told["left_out"]) == (2, 1, [], {})
    assert "has rows; clear it with --force" in refused.stderr
    assert "the variable NO_URL is not set" in unset.stderr
    assert "tables, compared row by row" in onward.stdout
    assert "1 rows say nothing in attachments.uploaded_by any more" in onward.stderr
    assert "of 4 bytes is missing" in onward.stderr
