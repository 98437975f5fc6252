"""``agentdb backup`` and ``agentdb restore``: what they write, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import agentdb
from agentdb.testing.factories import make_user

Command = Callable[..., Result]


def _add_user(url: str, folder: Path) -> None:
    async def add() -> None:
        async with agentdb.connect(url, folder=folder) as db:
            user = await make_user(db)
            await db.hub.attachments.store(b"file", filename="a", uploaded_by=user.id, purpose="mail")

    asyncio.run(add())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTDB_FOLDER", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.long
def test_a_backup_is_made_and_restored(command: Command, database_url: str, folder: Path) -> None:
    _add_user(database_url, folder)

    made, listed = command("backup"), command("backup", folder / "elsewhere", "--json", "--no-verify")
    path = Path(made.stdout.splitlines()[0])
    refused, forced = command("restore", path), command("restore", path, "--force", "--json")

    assert (made.exit_code, listed.exit_code, refused.exit_code, forced.exit_code) == (0, 0, 2, 0)
    assert path.parent == folder / "backups"
    assert " tables at revision 0007, verified\n1 files of attachments\n" in made.stdout
    told = json.loads(listed.stdout)
    assert (told["verified"], told["files"], told["missing"], told["keys"]) == (False, 1, [], [])
    assert Path(told["path"]).parent == folder / "elsewhere"
    assert refused.stdout == ""
    assert "overwrite it with --force" in refused.stderr
    assert (json.loads(forced.stdout)["rows"], json.loads(forced.stdout)["moved_aside"]) == (told["rows"], None)


@pytest.mark.long
def test_files_that_are_missing_are_named_and_end_with_one(command: Command, database_url: str, folder: Path) -> None:
    _add_user(database_url, folder)
    (gone,) = (file for file in (folder / "attachments").rglob("*") if file.is_file() and file.stat().st_size)
    gone.unlink()

    made = command("backup")
    restored = command("restore", made.stdout.splitlines()[0], "--force")

    assert (made.exit_code, restored.exit_code) == (1, 1)
    assert made.stderr == restored.stderr == f"the file {gone.name} of 4 bytes is missing, or was damaged\n"


def test_there_is_nothing_to_save_of_a_database_without_a_schema(command: Command, folder: Path) -> None:
    made = command("backup")

    assert made.exit_code == 2
    assert made.stderr.startswith("error: ")
    assert made.stderr.count("\n") == 1
    assert list((folder / "backups").iterdir()) == []


def test_a_folder_whose_name_is_no_text_is_told_as_json(command: Command, folder: Path) -> None:
    command("migrate")
    place = folder / os.fsdecode(b"caf\xe9")

    made = command("backup", place, "--no-verify", "--json")

    assert made.exit_code == 0
    assert Path(json.loads(made.stdout)["path"]).parent == folder / "caf?"
    assert len([*place.iterdir()]) == 1


def test_a_manifest_that_is_no_text_is_refused_in_words(command: Command, folder: Path) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b'{"format": 1, "agentdb": "\xff"}')

    refused = command("restore", folder)

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"error: the manifest of the backup {folder} cannot be read: " in refused.stderr
