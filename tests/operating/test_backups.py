"""Backups: what is saved is what was there at one moment, and what is restored is that."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import agentdb
from agentdb import migrating
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.engine.schema.direct import connected
from agentdb.errors import BadInput, BadSettings, Conflict, DatabaseCorrupt, SchemaMismatch, Unavailable
from agentdb.keyring import Keyring
from agentdb.operating import manifest
from agentdb.operating.backups import backup
from agentdb.operating.digests import table_digests
from agentdb.operating.restoring import restore
from agentdb.operating.workplaces import UNFINISHED, workplace
from agentdb.testing.factories import make_conversation, make_user
from tests.operating.filled import FILE, KEY, fill

Other = Callable[[], Awaitable[Settings]]


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path) -> Settings:
    """Return the settings of an empty database; the test runs on both."""
    return Settings.load(migrated_url, folder=tmp_path / "data", encryption_keys=KEY)


@pytest.fixture
def other(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Return what makes settings of another empty database of the same kind."""
    if settings.target.kind == "sqlite":
        return _file(tmp_path)
    return _database(request.getfixturevalue("agentdb_postgresql_server"), tmp_path)


def _file(folder: Path) -> Other:
    async def make() -> Settings:
        return Settings.load(f"sqlite:///{folder / 'other.db'}", folder=folder / "other", encryption_keys=KEY)

    return make


def _database(server: Any, folder: Path) -> Other:
    async def make() -> Settings:
        return Settings.load(await server.create_database(), folder=folder / "other", encryption_keys=KEY)

    return make


async def _digests(settings: Settings) -> Any:
    async with Database(settings) as db:
        return await table_digests(db)


async def test_what_is_restored_elsewhere_is_what_was_saved(settings: Settings, other: Other, tmp_path: Path) -> None:
    async with Database(settings) as db:
        digest = await fill(db)
        expected = await table_digests(db)
        made = await backup(db, tmp_path / "backups")
    elsewhere = await other()

    restored = await restore(made.path, elsewhere)

    assert await _digests(elsewhere) == expected == made.manifest.contents.tables
    assert made.manifest.verified
    assert restored.keys == made.manifest.contents.keys == [Keyring([bytes.fromhex(KEY)]).ids[0]]
    assert (restored.files, restored.missing, restored.moved_aside) == (1, [], None)
    assert KEY not in (made.path / manifest.NAME).read_text()
    async with Database(elsewhere) as db:
        assert await migrating.check(elsewhere) == []
        (attachment,) = (await db.hub.attachments.page(limit=9)).items
        opened = await db.hub.attachments.open(attachment.public_id, user_id=1)
        assert opened.path.read_bytes() == FILE
        assert attachment.file_hash == digest
        async for change in db.hub.logs.follow():  # the numbers of transactions are of this server
            assert change.row.message == "line 0 😀"
            break
        await make_user(db)  # the numbering of rows goes on behind what is there


@pytest.mark.long
async def test_a_backup_is_of_one_moment_while_others_write(settings: Settings, tmp_path: Path) -> None:
    """Each transaction adds a user and a conversation: at no moment is there one without the other."""
    ended, written = asyncio.Event(), 0

    async def write(db: Database) -> None:
        nonlocal written
        while not ended.is_set():
            async with db.write() as unit:
                user = await make_user(unit)
                await make_conversation(unit, user_id=user.id)
            written += 1

    async with Database(settings) as db:
        writers = [asyncio.create_task(write(db)) for _ in range(3)]
        try:
            made = await backup(settings, tmp_path / "backups")
            before = written
            again = await backup(settings, tmp_path / "backups")
        finally:
            ended.set()
            await asyncio.gather(*writers)
        final = await table_digests(db, ["users"])

    for one in (made, again):
        tables = one.manifest.contents.tables
        assert tables["users"].rows == tables["conversations"].rows
    assert made.manifest.contents.tables["users"].rows <= before <= again.manifest.contents.tables["users"].rows + 3
    assert before < final["users"].rows == written


@pytest.mark.long
async def test_a_database_in_memory_is_saved_from_its_database(agentdb: Database, tmp_path: Path) -> None:
    await fill(agentdb)

    made = await backup(agentdb, tmp_path / "backups")
    elsewhere = Settings.load(f"sqlite:///{tmp_path / 'a.db'}", folder=tmp_path / "other")
    restored = await restore(made.path, elsewhere)

    assert await _digests(elsewhere) == await table_digests(agentdb)
    assert restored.files == 1
    with pytest.raises(BadSettings, match="goes with its process"):
        await backup(Settings.load("sqlite://", folder=tmp_path / "data"), tmp_path / "backups")


@pytest.mark.long
async def test_an_embedded_server_is_saved_and_restored(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="agentdb-test-") as cluster:  # where nobody may enter too
        settings = Settings.load(f"embedded://{cluster}", folder=tmp_path / "data")
        async with Database(settings) as db:
            await fill(db)
            expected = await table_digests(db)

        made = await backup(settings, tmp_path / "backups")
        async with Database(settings) as db:
            await make_user(db)
        await restore(made.path, settings, force=True)

        assert await _digests(settings) == expected


@pytest.mark.long
async def test_what_is_there_is_overwritten_only_by_force_and_then_as_a_whole(
    settings: Settings, tmp_path: Path
) -> None:
    async with Database(settings) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups")
        await make_user(db)
        after = await table_digests(db)

        with pytest.raises(Conflict, match="--force"):
            await restore(made.path, settings)
        assert await table_digests(db) == after

        await restore(made.path, settings, force=True)
        assert await table_digests(db) == made.manifest.contents.tables
        await make_user(db)  # who had it open goes on


@pytest.mark.long
async def test_an_older_backup_is_brought_up_to_date(settings: Settings, other: Other, tmp_path: Path) -> None:
    await migrating.downgrade(settings, "0006")  # as one that is not up to date yet
    made = await backup(settings, tmp_path / "backups")
    elsewhere = await other()
    await migrating.upgrade(elsewhere)  # newer, with tables that the backup does not have

    restored = await restore(made.path, elsewhere, force=True)

    assert made.manifest.contents.revision == "0006"
    assert "integration_connections" not in made.manifest.contents.tables
    assert (restored.revision, restored.now_at) == ("0006", f"{migrating.head():04}")
    assert await migrating.check(elsewhere) == []


def _edit(path: Path, **changes: Any) -> None:
    said = json.loads((path / manifest.NAME).read_text())
    said["contents"] |= changes.pop("contents", {})
    (path / manifest.NAME).write_text(json.dumps(said | changes))


@pytest.mark.long
async def test_what_cannot_be_restored_is_refused_before_anything_changes(settings: Settings, tmp_path: Path) -> None:
    async with Database(settings) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups", verify=False)
        expected = await table_digests(db)
    stored = made.path / made.manifest.file

    async def refused(error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            await restore(made.path, settings, force=True)
        assert await _digests(settings) == expected

    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    await refused(DatabaseCorrupt, "is not what was saved")
    stored.write_bytes(whole)
    (attached,) = (file for file in (made.path / "attachments").rglob("*") if file.is_file())
    content = attached.read_bytes()
    attached.unlink()
    await refused(DatabaseCorrupt, "1 files of attachments")
    attached.write_bytes(content)
    _edit(made.path, contents={"version": 99})
    await refused(SchemaMismatch, "newer than this code")
    _edit(made.path, contents={"version": made.manifest.contents.version}, kind="paper")
    await refused(BadInput, "of a paper database")
    _edit(made.path, format=2)
    await refused(BadInput, "has form 2")
    (made.path / manifest.NAME).write_text("{")
    await refused(BadInput, "cannot be read")
    (made.path / manifest.NAME).unlink()
    await refused(BadInput, "is not a backup")
    assert not made.manifest.verified


@pytest.mark.long
async def test_missing_and_damaged_files_are_told_and_are_no_error(settings: Settings, tmp_path: Path) -> None:
    async with Database(settings) as db:
        digest = await fill(db)
        for content in (b"one", b"two"):
            await db.hub.attachments.store(content, filename="b", uploaded_by=1, purpose="mail")
        one, two = (file for file in db.attachments.rglob("*") if file.is_file() and file.stat().st_size == 3)
        one.unlink()
        two.write_bytes(b"oo!")

        made = await backup(db, tmp_path / "backups")
        two.unlink()
        restored = await restore(made.path, settings, force=True)

    assert {file.sha256 for file in made.manifest.missing} == {one.name, two.name}
    assert digest in {file.sha256 for file in made.manifest.contents.files}
    assert (restored.files, restored.missing) == (0, made.manifest.missing)


@pytest.mark.long
async def test_a_folder_of_another_databases_files_is_not_mixed_with_these(
    settings: Settings, other: Other, tmp_path: Path
) -> None:
    async with Database(settings) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups")
    elsewhere = await other()
    owned = tmp_path / "other" / "attachments"
    owned.mkdir(parents=True)
    (owned / f"database-{'0' * 32}").touch()

    with pytest.raises(BadSettings, match="keeps the files of another database"):
        await restore(made.path, elsewhere)
    await restore(made.path, elsewhere, force=True)

    async with Database(elsewhere) as db:
        await db.hub.attachments.store(b"x", filename="b", uploaded_by=1, purpose="mail")
    assert [mark.name for mark in owned.glob("database-*")] == [f"database-{made.manifest.contents.identity}"]


def _amid_the_longest_data(dump: bytes) -> int:
    """Return a place in what pg_dump has compressed: what a damage elsewhere changes may not matter."""
    begins = [found.start() for found in re.finditer(b"\x78\x9c", dump)]
    longest, begin = max((end - begin, begin) for begin, end in itertools.pairwise([*begins, len(dump)]))
    return begin + longest // 2


@pytest.mark.long
async def test_a_backup_that_does_not_hold_what_was_saved_is_not_kept(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is changed behind the back of the command, as a bad disk would."""
    async with Database(settings) as db:
        await fill(db)
    folder = tmp_path / "backups"

    def damage(what: str, _done: int, _total: int) -> None:
        if what == "restoring to a scratch database":
            (stored,) = folder.glob(f"{UNFINISHED}*/database.*")
            content = stored.read_bytes()
            at = content.find(b"line 7") if b"line 7" in content else _amid_the_longest_data(content)
            stored.write_bytes(content[:at] + b"LINE 8" + content[at + 6 :])

    with pytest.raises((DatabaseCorrupt, Unavailable)):
        await backup(settings, folder, on_progress=damage)

    assert list(folder.iterdir()) == []


@pytest.mark.long
async def test_two_do_not_restore_to_one_place_at_once(settings: Settings, tmp_path: Path) -> None:
    async with Database(settings) as db:
        made = await backup(db, tmp_path / "backups")
    path = settings.target.path
    beside = path.with_name(f".{path.name}.restoring") if path else settings.folder / ".restoring"
    beside.parent.mkdir(exist_ok=True)

    with workplace(beside, setting="the test"), pytest.raises(Unavailable, match="another process works"):
        await restore(made.path, settings, force=True)
    await restore(made.path, settings, force=True)


@pytest.mark.long
async def test_a_damaged_database_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    settings = Settings.load(f"sqlite:///{path}", folder=tmp_path / "data")
    async with Database(settings) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups")
    path.write_bytes(b"no database" * 1000)

    restored = await restore(made.path, settings, force=True)

    assert await _digests(settings) == made.manifest.contents.tables
    assert restored.moved_aside is not None
    assert restored.moved_aside.read_bytes() == b"no database" * 1000


@pytest.mark.long
async def test_a_log_that_a_removed_database_left_is_not_taken_for_the_restored_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    settings = Settings.load(f"sqlite:///{path}", folder=tmp_path / "data")
    async with Database(settings) as db:
        made = await backup(db, tmp_path / "backups")
        await make_user(db)
        log = path.with_name("a.db-wal").read_bytes()
    path.unlink()
    path.with_name("a.db-wal").write_bytes(log)

    await restore(made.path, settings)

    assert await _digests(settings) == made.manifest.contents.tables


async def test_a_file_is_copied_before_it_is_migrated_and_the_copy_is_restored(tmp_path: Path) -> None:
    settings = Settings.load(f"sqlite:///{tmp_path / 'a.db'}", folder=tmp_path / "data", backup_before_migrate=True)
    await migrating.upgrade(settings, "0006")
    assert not (tmp_path / "data" / "backups").exists()  # there was nothing to copy

    async with agentdb.connect(settings.url, folder=settings.folder, backup_before_migrate=True) as db:
        await make_user(db)
    async with Database(settings):
        pass
    (kept,) = (tmp_path / "data" / "backups").iterdir()
    with closing(sqlite3.connect(kept)) as copied:
        assert copied.execute("SELECT revision FROM schema_version").fetchall() == [("0006",)]
    restored = await restore(kept, settings, force=True)

    assert (restored.revision, restored.now_at) == ("0006", f"{migrating.head():04}")
    assert (await _digests(settings))["users"].rows == 0
    assert kept.name.startswith("a-at-0006-")


@pytest.mark.long
async def test_tables_of_others_in_the_same_schema_are_saved_with_it(
    settings: Settings, other: Other, tmp_path: Path
) -> None:
    async with Database(settings) as db, db.write() as unit:
        await unit.session.execute(text("CREATE TABLE theirs (id INTEGER PRIMARY KEY, at TIMESTAMP)"))
        await unit.session.execute(text("INSERT INTO theirs VALUES (1, '2026-01-02 03:04:05')"))
    made = await backup(settings, tmp_path / "backups")
    elsewhere = await other()

    await restore(made.path, elsewhere)

    assert (await _digests(elsewhere))["theirs"] == made.manifest.contents.tables["theirs"]
    assert made.manifest.contents.tables["theirs"].rows == 1


@pytest.mark.long
async def test_a_server_with_pgvector_in_a_schema_of_its_own_is_saved_and_restored(
    agentdb_postgresql_server: Any, tmp_path: Path
) -> None:
    async def database(place: str) -> Settings:
        settings = Settings.load(await agentdb_postgresql_server.create_database(), folder=tmp_path / "data")
        async with connected(settings) as connection:
            name = settings.target.database
            await connection.execute(text(f"CREATE SCHEMA {place}"))
            await connection.execute(text(f"CREATE EXTENSION vector SCHEMA {place}"))
            await connection.execute(text(f'ALTER DATABASE "{name}" SET search_path = public, {place}'))
            await connection.commit()
        return settings

    one, same, other = await database("extensions"), await database("extensions"), await database("elsewhere")
    async with Database(one) as db:
        await fill(db)
        made = await backup(db, tmp_path / "backups")

    await restore(made.path, same)
    assert await _digests(same) == made.manifest.contents.tables
    with pytest.raises(BadSettings, match='ALTER EXTENSION vector SET SCHEMA "extensions"'):
        await restore(made.path, other)


async def test_a_file_in_use_is_not_restored_without_what_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with agentdb.connect(f"sqlite:///{path}", folder=tmp_path / "data") as db:
        await make_user(db)

        with pytest.raises(BadInput, match="a database in use"):
            await restore(path, Settings.load(f"sqlite:///{tmp_path / 'b.db'}", folder=tmp_path / "other"))


@pytest.mark.long
async def test_a_copy_does_not_take_the_folder_of_another_databases_files_by_itself(tmp_path: Path) -> None:
    """Whose a copy's files are is known only once it is looked at."""
    folder = tmp_path / "other"
    async with agentdb.connect(f"sqlite:///{tmp_path / 'a.db'}", folder=tmp_path / "data") as db:
        copied = await backup(db, tmp_path / "backups")
    mark = folder / "attachments" / f"database-{'0' * 32}"
    mark.parent.mkdir(parents=True)
    mark.touch()
    settings = Settings.load(f"sqlite:///{tmp_path / 'b.db'}", folder=folder)

    await restore(copied.path / "database.sqlite", settings)
    assert [left.name for left in mark.parent.glob("database-*")] == [mark.name]
    await restore(copied.path / "database.sqlite", settings, force=True)
    assert [left.name for left in mark.parent.glob("database-*")] == [f"database-{copied.manifest.contents.identity}"]
