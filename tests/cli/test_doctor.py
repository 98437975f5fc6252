"""``agentdb doctor``: each thing that may be wrong is found, and nothing secret is shown."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import Result

from agentdb import migrating
from agentdb.cli import app
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.engine import examining
from agentdb.operating import doctor
from tests.canaries import canary
from tests.cli.conftest import Runner
from tests.cli.test_rebuild import sql

Command = Callable[..., Result]
HEAD = f"{migrating.head():04}"
OLD, NEW = (hashlib.sha256(name).hexdigest() for name in (b"doctor's old key", b"doctor's new key"))


@pytest.fixture(autouse=True)
def _kept_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an environment about which there is nothing to say."""
    for name in [name for name in os.environ if name.startswith("AGENTDB_TEST_POSTGRESQL_")]:
        monkeypatch.setenv(name, os.environ[name])
    tmp_path.chmod(0o700)
    monkeypatch.setenv("AGENTDB_FOLDER", str(tmp_path))
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", NEW)


def examined(command: Command, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return how the doctor ended, and the worst finding of each check."""
    result = command("doctor", "--json", *words)
    order = ["skipped", "fine", "look", "wrong"]
    found = sorted(json.loads(result.stdout), key=lambda finding: order.index(finding["verdict"]))
    return result.exit_code, {finding["check"]: finding for finding in found}


def test_a_sound_database_is_fine(migrated: Command) -> None:
    code, found = examined(migrated, "--thorough")

    assert (code, {finding["verdict"] for finding in found.values()} - {"skipped"}) == (0, {"fine"})
    expected = "settings folders connection versions clock keys transactions indexes log connections schema drift"
    assert list(found.keys() ^ set(expected.split())) == []


def test_what_should_be_done_ends_with_one(migrated: Command, migrated_url: str) -> None:
    sql(migrated_url, "ALTER TABLE users ADD COLUMN stray text")

    code, found = examined(migrated)

    assert (code, found["drift"]["verdict"]) == (1, "look")
    assert "column users.stray" in found["drift"]["told"]


@pytest.mark.long
def test_a_schema_that_is_behind_or_missing_is_told(command: Command) -> None:
    _, missing = examined(command)
    command("migrate")
    command("stamp", "0001")
    code, behind = examined(command)

    assert missing.get("schema", missing["connection"])["verdict"] == "look"
    assert (code, behind["schema"]["verdict"]) == (1, "look")
    assert behind["schema"]["remedy"] == "run `agentdb migrate`"


def test_a_misspelt_setting_is_told_with_the_one_that_is_meant(
    migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_POOLSIZE", "3")

    code, found = examined(lambda *words: Runner().invoke(app, ["--url", migrated_sqlite_url, *words]))

    assert code == 1
    assert "AGENTDB_POOLSIZE (AGENTDB_POOL_SIZE is meant?)" in found["settings"]["told"]


def test_settings_that_are_refused_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDB_POOL_SIZE", "none")

    result = Runner().invoke(app, ["doctor", "--json"])

    assert result.exit_code == 2
    assert [(finding["check"], finding["verdict"]) for finding in json.loads(result.stdout)] == [("settings", "wrong")]


def test_a_server_that_is_away_ends_with_two_and_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    password = canary("password-of-doctor")
    monkeypatch.setenv("AGENTDB_URL", f"postgresql://agentdb:{password}@127.0.0.1:1/agentdb")
    monkeypatch.setenv("AGENTDB_REPLICA_URL", f"postgresql://agentdb:{password}@127.0.0.1:1/agentdb")

    for words in ((), ("--json",)):
        result = Runner().invoke(app, ["doctor", *words])

        assert result.exit_code == 2
        assert "127.0.0.1:1" in result.output or "connecting" in result.output
        assert password not in result.output
        assert NEW not in result.output


def test_files_that_others_may_read_are_told(migrated_sqlite_url: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "agentdb.db").chmod(0o644)

    result = Runner().invoke(app, ["--url", migrated_sqlite_url, "doctor", "--json"])

    remedies = [finding["remedy"] for finding in json.loads(result.stdout) if finding["check"] == "folders"]
    assert result.exit_code == 1
    assert remedies == [f"chmod 700 {tmp_path}", f"chmod 600 {tmp_path / 'agentdb.db'}"]


@pytest.mark.long
def test_secrets_under_other_keys_are_told_by_their_ids(
    command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def store() -> None:
        async with Database(Settings.load(database_url, encryption_keys=OLD)) as db:
            await db.catalog.providers.create("p", api_key=canary("key-of-doctor"))

    asyncio.run(store())
    code, lost = examined(command)
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", f"{NEW},{OLD}")
    _, older = examined(command)
    command("keys", "rotate")
    _, rotated = examined(command)
    monkeypatch.delenv("AGENTDB_ENCRYPTION_KEYS")
    none, without = examined(command)

    assert (code, lost["keys"]["verdict"]) == (2, "wrong")
    assert "1 secrets are sealed with key" in lost["keys"]["told"]
    assert (older["keys"]["verdict"], older["keys"]["remedy"]) == ("look", "run `agentdb keys rotate`")
    assert rotated["keys"]["verdict"] == "fine"
    assert (none, without["keys"]["verdict"]) == (2, "wrong")


def test_a_damaged_file_is_told(migrated_sqlite_url: str, tmp_path: Path) -> None:
    sql(
        migrated_sqlite_url,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'ix_users__role_id')"
        " WHERE name = 'uq_models__type'",
    )

    result = Runner().invoke(app, ["--url", migrated_sqlite_url, "doctor", "--thorough", "--json"])

    assert result.exit_code == 2
    assert "wrong" in {f["verdict"] for f in json.loads(result.stdout) if f["check"] in {"indexes", "connection"}}


@asynccontextmanager
async def _driver(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**Settings.load(url).target.connect_arguments())
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_long_transaction_and_an_invalid_index_are_told(
    migrated_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(migrated_postgresql_url)
    monkeypatch.setattr(doctor, "LONG_SECONDS", 0.0)
    async with _driver(migrated_postgresql_url) as holder, _driver(migrated_postgresql_url) as other:
        await other.execute("INSERT INTO variables (key, value, created_at, updated_at) SELECT 'a', 'b', now(), now()")
        await other.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users__role_id'::regclass")
        await holder.execute("SET application_name = 'holder'; BEGIN; SELECT 1")

        found = await doctor.examine(settings, environment={})

        await holder.execute("ROLLBACK")
    wrong = {finding.check: finding for finding in found if finding.verdict in {"look", "wrong"}}
    assert "holder, idle in transaction" in wrong["transactions"].told
    assert "users.ix_users__role_id" in wrong["indexes"].told


@pytest.mark.long
async def test_a_slot_that_nobody_reads_is_told(migrated_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(migrated_postgresql_url)
    monkeypatch.setattr(doctor, "LOG_BYTES", -1)
    async with _driver(migrated_postgresql_url) as other:
        await other.execute("SELECT pg_create_physical_replication_slot('doctor_forgot', true)")
        try:
            found = await doctor.examine(settings, environment={})
        finally:
            await other.execute("SELECT pg_drop_replication_slot('doctor_forgot')")

    (log,) = [finding for finding in found if finding.check == "log"]
    assert log.verdict == "look"
    assert "doctor_forgot, which nobody reads" in log.told


@pytest.mark.long
async def test_a_clock_that_is_off_is_told(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(postgresql_url)
    monkeypatch.setattr(doctor, "SKEW_SECONDS", -1.0)

    found = await doctor.examine(settings, environment={})

    (clock,) = [finding for finding in found if finding.check == "clock"]
    assert (clock.verdict, clock.remedy) == ("look", "let both machines keep time by NTP")


async def test_a_replica_that_follows_nobody_and_a_pooler_without_a_way_past_it_are_told(postgresql_url: str) -> None:
    settings = Settings.load(postgresql_url, replica_url=postgresql_url, pooler="transaction")

    found = {finding.check: finding for finding in await doctor.examine(settings, environment={})}

    assert found["replica"].verdict == "wrong"
    assert "follows nobody" in found["replica"].told
    assert found["pooler"].verdict == "look"
    assert found["pooler"].remedy == "set AGENTDB_DIRECT_URL to the server itself"
    assert (await examining.replica(settings.target, 10.0)).follows is False


def test_people_are_told_what_to_do(migrated_sqlite_url: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    result = Runner().invoke(app, ["--url", migrated_sqlite_url, "doctor"])

    assert result.exit_code == 1
    assert f"→ chmod 700 {tmp_path}" in result.stdout
    assert "look" in result.stdout.splitlines()[-1]
