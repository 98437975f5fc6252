"""``agentdb keys``: fresh keys, rotation and the check, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from sqlalchemy import update
from typer.testing import Result

import agentdb
from agentdb.cli import app
from agentdb.keyring import Keyring
from agentdb.models import Provider
from agentdb.types import uuid7
from tests.cli.conftest import Runner

Command = Callable[..., Result]

OLD: Final = hashlib.sha256(b"old").hexdigest()
NEW: Final = hashlib.sha256(b"new").hexdigest()
BEFORE: Final = Keyring([bytes.fromhex(OLD)])
AFTER: Final = Keyring([bytes.fromhex(NEW)])
SECRET: Final = "sk-hunter2"


def _store(url: str, *names: str) -> dict[str, str]:
    """Store a provider of each name with a secret under the old key, and return their rows' uuids."""
    rows = {name: uuid7() for name in names}

    async def store() -> None:
        async with agentdb.connect(url) as db, db.write() as unit:
            for name, row in rows.items():
                sealed = BEFORE.seal(SECRET, table="providers", column="api_key", row=row)
                unit.session.add(Provider(name=name, uuid=row, api_key=sealed))

    asyncio.run(store())
    return {name: str(row) for name, row in rows.items()}


def _give_all_the_same_ciphertext(url: str) -> None:
    async def copy() -> None:
        async with agentdb.connect(url) as db, db.write() as unit:
            sealed = AFTER.seal(SECRET, table="providers", column="api_key", row=uuid7())
            await unit.session.execute(update(Provider).values(api_key=sealed))

    asyncio.run(copy())


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", f"{NEW},{OLD}")


def test_a_new_key_is_one_line_that_the_setting_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner()
    first, second = (runner.invoke(app, ["keys", "new"]).stdout for _ in range(2))

    assert first != second
    assert first.count("\n") == 1
    assert Keyring.from_settings(agentdb.Settings.load("sqlite://", encryption_keys=f"{first},{second}")).ready


def test_rotating_and_checking_tell_what_was_done(migrated: Command, migrated_url: str) -> None:
    _store(migrated_url, "a", "b")

    before, rotated, again, after = (
        migrated("keys", *words)
        for words in (["check"], ["rotate"], ["rotate", "--json"], ["check", "--all", "--json"])
    )

    assert [result.exit_code for result in (before, rotated, again, after)] == [0, 0, 0, 0]
    assert before.stdout == f"2 of 2 secrets open\n2 are sealed with key {BEFORE.ids[0]}\n"
    assert rotated.stdout == f"2 secrets sealed anew with key {AFTER.ids[0]}, 0 left under others\n"
    assert json.loads(again.stdout) == {"key": AFTER.ids[0], "resealed": 0, "left": 0, "unreadable": []}
    assert json.loads(after.stdout) == {"checked": 2, "keys": {AFTER.ids[0]: 2}, "unreadable": []}


def test_a_secret_that_does_not_open_is_named_and_ends_with_one(migrated: Command, migrated_url: str) -> None:
    rows = _store(migrated_url, "a", "b")
    _give_all_the_same_ciphertext(migrated_url)

    told, sampled, listed = migrated("keys", "check"), migrated("keys", "check", "--sample", 1), _check_json(migrated)

    assert (told.exit_code, sampled.exit_code) == (1, 1)
    assert told.stdout.startswith("0 of 2 secrets open\n")
    assert sampled.stdout.startswith("0 of 1 secrets open\n")
    assert told.stderr.count("\n") == 2
    for row, line in zip(rows.values(), told.stderr.splitlines(), strict=True):
        assert f"providers.api_key of row {row}" in line
        assert AFTER.ids[0] in line
    assert [(bad["table"], bad["column"], bad["row"], bad["key"]) for bad in listed["unreadable"]] == [
        ("providers", "api_key", row, AFTER.ids[0]) for row in rows.values()
    ]


def _check_json(command: Command) -> dict[str, Any]:
    result = command("keys", "check", "--json")
    assert result.exit_code == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_what_cannot_be_rotated_is_named_and_ends_with_one(
    command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = _store(database_url, "a").values()
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", NEW)

    result = command("keys", "rotate")

    assert result.exit_code == 1
    assert result.stdout.endswith("1 left under others\n")
    assert f"row {row} is sealed with key {BEFORE.ids[0]}, which AGENTDB_ENCRYPTION_KEYS does not hold" in result.stderr


def test_without_keys_and_with_a_weak_one_it_ends_with_two(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTDB_ENCRYPTION_KEYS")
    without = command("keys", "rotate")
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", "hunter2")
    weak = command("keys", "rotate")

    for result in (without, weak):
        assert result.exit_code == 2
        assert "make one with `python -c" in result.stderr
    assert "hunter2" not in weak.stderr


def test_what_was_stored_before_there_was_a_key_is_sealed(
    command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def save() -> None:
        async with agentdb.connect(database_url) as db:
            await db.hub.variables.save("TOKEN", SECRET, sensitive=True)
            await db.hub.variables.save("COLOUR", "blue")

    with monkeypatch.context() as without:
        without.delenv("AGENTDB_ENCRYPTION_KEYS")
        asyncio.run(save())
        assert command("keys", "seal").exit_code == 2

    sealed, again, checked = (command("keys", *words) for words in (["seal"], ["seal", "--json"], ["check", "--json"]))

    assert [result.exit_code for result in (sealed, again, checked)] == [0, 0, 0]
    assert sealed.stdout == "1 sensitive variables sealed\n"
    assert json.loads(again.stdout) == {"sealed": 0}
    assert json.loads(checked.stdout)["keys"] == {AFTER.ids[0]: 1}


def test_all_and_a_sample_exclude_each_other(command: Command) -> None:
    assert command("keys", "check", "--all", "--sample", 3).exit_code == 2


@pytest.mark.long
def test_the_installed_command_rotates_and_never_shows_a_secret(migrated_url: str) -> None:
    _store(migrated_url, "a")

    rotated, checked = (
        subprocess.run(
            [sys.executable, "-m", "agentdb", "keys", *words],
            env={**os.environ, "AGENTDB_URL": migrated_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        for words in (["rotate"], ["check", "--json"])
    )

    assert rotated.stdout.startswith("1 secrets sealed anew")
    assert json.loads(checked.stdout)["keys"] == {AFTER.ids[0]: 1}
    for said in (rotated.stdout, rotated.stderr, checked.stdout, checked.stderr):
        assert not any(secret in said for secret in (SECRET, OLD, NEW))
