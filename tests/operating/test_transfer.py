"""Transfers: what is in the target is what was in the source, on either database, with the strangest values."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from agentdb import migrating
from agentdb.base import Entity
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import (
    BadInput,
    BadSettings,
    Conflict,
    DatabaseCorrupt,
    NotFound,
    SchemaMismatch,
)
from agentdb.models import CostSource
from agentdb.operating.digests import table_digests
from agentdb.operating.transferring import Unindexed, transfer
from agentdb.operating.transferring.groups import groups
from agentdb.testing.factories import make_run_session, make_user
from agentdb.testing.postgresql import PostgreSQLServer
from tests.operating import strange
from tests.operating.filled import FILE, KEY, fill


@pytest.fixture
async def full(tmp_path: Path) -> Settings:
    """Return the settings of a file that has strange rows in every table."""
    settings = Settings.load(f"sqlite:///{tmp_path / 'full.db'}", folder=tmp_path / "data")
    await migrating.upgrade(settings)
    strange.fill(tmp_path / "full.db")
    return settings


def _file(folder: Path, name: str) -> Settings:
    return Settings.load(f"sqlite:///{folder / name}", folder=folder / "data")


async def _digests(settings: Settings) -> Any:
    async with Database(settings) as db:
        return await table_digests(db)


async def test_every_table_makes_the_round_trip(full: Settings, postgresql_url: str, tmp_path: Path) -> None:
    server = Settings.load(postgresql_url, folder=tmp_path / "data")
    back = _file(tmp_path, "back.db")
    expected = await _digests(full)

    there = await transfer(full, server)
    assert await _digests(server) == expected
    assert await migrating.check(server) == []
    returned = await transfer(server, back)

    assert await _digests(back) == expected
    assert await migrating.check(back) == []
    assert all(digest.rows for digest in expected.values())
    assert there.tables == returned.tables
    assert {**there.tables, "schema_version": expected["schema_version"]} == expected
    assert (there.left_out, there.nulled, there.resumed) == ({}, {}, 0)


@pytest.mark.long
async def test_ids_that_are_gone_do_not_come_again_and_search_and_triggers_work(
    tmp_path: Path, postgresql_url: str
) -> None:
    source, server, back = _file(tmp_path, "a.db"), Settings.load(postgresql_url, folder=tmp_path), _file(tmp_path, "b")
    async with Database(source) as db:
        user = await make_user(db)
        gone = await make_user(db)
        await db.supervisor.users.remove(gone.id)
        agent = await db.catalog.agents.create("a")
        await db.knowledge.memories.remember(agent.id, "the quick brown fox")

    await transfer(source, server)
    await transfer(server, back)

    for settings in (server, back):
        async with Database(settings) as db:
            assert (await make_user(db)).id == gone.id + 1 == user.id + 2
            assert len(await db.knowledge.memories.search(agent.id, "fox")) == 1
            with pytest.raises(DBAPIError, match="append-only"):
                async with db.write() as unit:
                    await unit.session.execute(text("UPDATE audit_log SET action = 'x'"))


async def test_collections_whose_indexes_are_not_carried_are_named(
    agentdb_postgresql_server: PostgreSQLServer, postgresql_url: str, tmp_path: Path
) -> None:
    source, file = Settings.load(postgresql_url, folder=tmp_path), _file(tmp_path, "a.db")
    url = await agentdb_postgresql_server.create_database()
    target = Settings.load(url, folder=tmp_path)
    async with Database(source) as db:
        user = await make_user(db)
        plain, indexed = [(await db.knowledge.collections.create(user.id, name, 2)).id for name in ("plain", "indexed")]
        for collection in (plain, indexed):
            await db.knowledge.vectors.pour(user.id, collection, [{"embedding": [1, 0]}])
        await db.knowledge.indexes.build(user.id, indexed)

    there, back = await transfer(source, target), await transfer(source, file)

    assert there.unindexed == [Unindexed(user.id, indexed, "hnsw")]
    assert back.unindexed == []
    async with Database(target) as db:
        assert (await db.knowledge.indexes.state(user.id, indexed)).kind is None
        assert len(await db.knowledge.vectors.search(user.id, indexed, [1, 0])) == 1
        assert (await db.knowledge.indexes.build(user.id, indexed)).valid
    await agentdb_postgresql_server.drop_database(url)


async def test_what_refers_to_nothing_is_left_out_and_told(tmp_path: Path) -> None:
    """What enforced references would have done: cascade, or set null."""
    source, target = _file(tmp_path, "a.db"), _file(tmp_path, "b.db")
    async with Database(source) as db:
        user, kept = await make_user(db), await make_user(db)
        session, other = await make_run_session(db, user_id=user.id), await make_run_session(db, user_id=kept.id)
        for one in (session, other):
            await db.hub.logs.append(one, [{"role": "llm", "message": "line"}] * 3)
        await db.hub.costs.append(
            source=CostSource.console, model="m", cost=Decimal(1), user_id=user.id, run_session_id=session.id
        )
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("DELETE FROM users WHERE id = ?", (user.id,))
        database.commit()

    done = await transfer(source, target)

    assert done.left_out == {"context_log": 3, "run_session": 1, "runs": 1, "user_notifications": 1}
    assert done.nulled == {"costs.run_session_id": 1, "costs.user_id": 1}
    async with Database(target) as db:
        assert await db.hub.logs.count() == 3
        (cost,) = (await db.hub.costs.page(limit=9)).items
        assert (cost.cost, cost.user_id, cost.run_session_id) == (Decimal(1), None, None)


@pytest.mark.long
async def test_files_of_attachments_go_along_where_folders_differ(tmp_path: Path) -> None:
    source = Settings.load(f"sqlite:///{tmp_path / 'a.db'}", folder=tmp_path / "old", encryption_keys=KEY)
    target = Settings.load(f"sqlite:///{tmp_path / 'b.db'}", folder=tmp_path / "new", encryption_keys=KEY)
    async with Database(source) as db:
        digest = await fill(db)

    done = await transfer(source, target)

    assert (done.files, done.missing) == (1, [])
    async with Database(target) as db:
        (attachment,) = (await db.hub.attachments.page(limit=9)).items
        assert (await db.hub.attachments.open(attachment.public_id, user_id=1)).path.read_bytes() == FILE
        assert attachment.file_hash == digest
        provider = await db.catalog.providers.by_name("p")
        assert await db.catalog.providers.reveal(provider.id) == "sk-hunter2"
        await db.hub.attachments.store(b"more", filename="b", uploaded_by=1, purpose="mail")  # the folder is its own


@pytest.mark.long
async def test_what_cannot_be_done_is_refused_and_changes_nothing(full: Settings, tmp_path: Path) -> None:
    target = _file(tmp_path, "b.db")
    async with Database(target) as db:
        await make_user(db)
    expected = await _digests(target)
    alias = tmp_path / "alias.db"
    alias.symlink_to(tmp_path / "full.db")

    with pytest.raises(Conflict, match=r"the table \w+ of .* has rows"):
        await transfer(full, target)
    with pytest.raises(BadInput, match="are one database"):
        await transfer(full, _file(tmp_path, "alias.db"), force=True)
    with pytest.raises(NotFound, match=r"no database file"):
        await transfer(_file(tmp_path, "none.db"), target, force=True)
    with pytest.raises(BadSettings, match="in memory"):
        await transfer(Settings.load("sqlite://"), target, force=True)
    await migrating.upgrade(_file(tmp_path, "older.db"), "0006")
    with pytest.raises(SchemaMismatch, match="run `agentdb migrate` on it first"):
        await transfer(_file(tmp_path, "older.db"), target, force=True)

    assert await _digests(target) == expected
    await transfer(full, target, force=True)
    assert await _digests(target) == await _digests(full)


async def test_one_server_database_under_two_names_is_refused(postgresql_url: str, tmp_path: Path) -> None:
    one = Settings.load(postgresql_url, folder=tmp_path)
    other = Settings.load(f"{postgresql_url}&application_name=other", folder=tmp_path)
    await migrating.upgrade(one)

    with pytest.raises(BadInput, match="are one database"):
        await transfer(one, other, force=True)


class _Killed(BaseException):
    pass


def _killing(after: str, rows: int) -> Any:
    def tell(what: str, done: int, _total: int) -> None:
        if what == after and done >= rows:
            raise _Killed

    return tell


@pytest.mark.long
async def test_an_ended_transfer_goes_on_or_begins_over_when_the_source_has_changed(
    full: Settings, tmp_path: Path
) -> None:
    target = _file(tmp_path, "b.db")
    expected = await _digests(full)

    with pytest.raises(_Killed):
        await transfer(full, target, on_progress=_killing("copying rows", 200))
    with pytest.raises(SchemaMismatch, match="run `agentdb transfer` again"):  # it is not taken for the whole
        await _digests(target)
    stranger = _file(tmp_path, "c.db")
    await migrating.upgrade(stranger)
    with pytest.raises(Conflict, match="unfinished transfer of another database"):
        await transfer(stranger, target)
    with pytest.raises(_Killed):
        await transfer(full, target, on_progress=_killing("verifying rows", 1))
    resumed = await transfer(full, target)
    assert await _digests(target) == expected
    assert (resumed.copied, resumed.began_over, resumed.resumed) == (0, False, len(resumed.tables))

    again = _file(tmp_path, "d.db")
    with pytest.raises(_Killed):
        await transfer(full, again, on_progress=_killing("copying rows", 200))
    with closing(sqlite3.connect(tmp_path / "full.db")) as database:
        database.execute("UPDATE users SET title = 'changed'")
        database.commit()
    done = await transfer(full, again)
    assert done.began_over
    assert await _digests(again) == await _digests(full)

    with pytest.raises(_Killed):
        await transfer(full, _file(tmp_path, "e.db"), on_progress=_killing("copying rows", 200))
    await transfer(stranger, _file(tmp_path, "e.db"), force=True)
    assert await _digests(_file(tmp_path, "e.db")) == await _digests(stranger)


@pytest.mark.long
async def test_who_begins_later_ends_the_earlier_transfer(full: Settings, tmp_path: Path) -> None:
    target = _file(tmp_path, "b.db")

    def take_over(what: str, done: int, _total: int) -> None:
        if what == "copying rows" and done > 0 and not taken:
            taken.append(True)
            with closing(sqlite3.connect(tmp_path / "b.db")) as database:
                database.execute("PRAGMA busy_timeout = 0")
                with pytest.raises(sqlite3.OperationalError):  # not within the transaction of a group
                    database.execute("UPDATE agentdb_transfer SET run = 'another'")
        if what == "verifying rows" and len(taken) == 1:
            taken.append(True)
            with closing(sqlite3.connect(tmp_path / "b.db")) as database:
                database.execute("UPDATE agentdb_transfer SET run = 'another'")
                database.commit()

    taken: list[bool] = []
    with pytest.raises(Conflict, match="another transfer into this database has begun"):
        await transfer(full, target, on_progress=take_over)
    await transfer(full, target)

    assert await _digests(target) == await _digests(full)


async def test_a_change_in_the_target_is_found(full: Settings, tmp_path: Path) -> None:
    target = _file(tmp_path, "b.db")
    with pytest.raises(_Killed):
        await transfer(full, target, on_progress=_killing("verifying rows", 1))
    with closing(sqlite3.connect(tmp_path / "b.db")) as database:
        database.execute("UPDATE users SET title = title || 'x'")
        database.commit()

    with pytest.raises(DatabaseCorrupt, match=r"users \(6 rows, 6 expected\)"):
        await transfer(full, target)


def test_tables_that_refer_to_each_other_go_together_and_behind_those_they_refer_to() -> None:
    found = [[table.name for table in group] for group in groups(Entity.metadata.tables.values())]
    place = {name: number for number, group in enumerate(found) for name in group}

    assert [group for group in found if len(group) > 1] == [
        ["agents", "users"],
        ["agent_sessions", "conversations", "messages"],
    ]
    for table in Entity.metadata.tables.values():
        assert all(place[key.column.table.name] <= place[table.name] for key in table.foreign_keys)
