"""A database that was restored on another server, and a folder of files that belongs to one database alone."""

# ruff: noqa: PT012 (a unit is several statements)

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

import agentdb
from agentdb import migrating
from agentdb.database import Database
from agentdb.errors import BadInput, BadSettings
from agentdb.hub import logs, notifications
from agentdb.models import ContextLog
from agentdb.testing.factories import make_run_session, make_user
from agentdb.testing.plugin import SEALED
from agentdb.trails import Place

TO_COME = 1 << 50
LINES = [{"role": "llm", "message": message} for message in "abc"]


async def _followed(db: Database, number: int) -> list[ContextLog]:
    """Return the first entries that a follower of everything gets."""
    rows = []
    async with asyncio.timeout(30):
        async for change in db.hub.logs.follow(poll_seconds=0.05):
            rows.append(change.row)
            if len(rows) == number:
                break
    return rows


@pytest_asyncio.fixture
async def moved(agentdb_postgresql: Database) -> Database:
    """Return a database with a log that a server of higher numbers has written."""
    db = agentdb_postgresql
    session = await make_run_session(db)
    await db.hub.logs.append(session, LINES)
    async with db.write() as unit:
        for change in ("context_log SET tx", "user_notifications SET tx", "run_session SET latest_tx"):
            await unit.session.execute(text(f"UPDATE {change} = {TO_COME}"))
    return db


@pytest.mark.long
async def test_a_log_from_another_server_is_told_by_check_and_followed_after_migrating(moved: Database) -> None:
    session = (await moved.hub.runs.page(limit=1)).items[0]
    told = await migrating.check(moved.settings)
    assert [difference.name for difference in told] == [
        f"the numbering of {table}" for table in ("context_log", "run_session", "user_notifications")
    ]
    assert await moved.hub.notifications.changed() == []
    await moved.hub.logs.append(session, LINES)  # behind what came along: it would wait too

    report = await migrating.upgrade(moved.settings)
    await moved.hub.logs.append(session, LINES)

    assert report.renumbered == ("context_log", "run_session")
    rows = await _followed(moved, 9)
    assert [row.message for row in rows] == ["a", "b", "c"] * 3
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert len(await moved.hub.notifications.changed()) == 1
    assert await migrating.check(moved.settings) == []


async def test_a_database_that_was_not_moved_is_left_as_it_is(db: Database) -> None:
    await db.hub.logs.append(await make_run_session(db), LINES)
    before = [row.tx for row in (await db.hub.logs.page(limit=9)).items]

    if db.settings.target.kind == "postgresql":
        assert (await migrating.upgrade(db.settings)).renumbered == ()

    assert [row.tx for row in (await db.hub.logs.page(limit=9)).items] == before


async def test_a_cursor_of_another_server_is_refused_and_not_waited_for(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    cursor = logs._EVERYBODYS.cursor(Place(TO_COME, 7))
    await db.hub.logs.append(await make_run_session(db), LINES)

    with pytest.raises(BadInput, match="of another server"):
        await anext(db.hub.logs.follow(after=cursor))
    with pytest.raises(BadInput, match="begin again without one"):
        await db.hub.notifications.changed(after=notifications._TRAIL.cursor(Place(TO_COME, 7)))
    assert await db.hub.notifications.changed(after=await db.hub.notifications.end()) == []


# Files


@pytest_asyncio.fixture
async def another(tmp_path: Path) -> AsyncIterator[Database]:
    """Yield a database of its own that was given the same folder."""
    async with agentdb.connect(f"sqlite:///{tmp_path / 'another.db'}", folder=tmp_path, **SEALED) as other:
        yield other


async def test_a_folder_is_one_databases_and_another_is_refused(another: Database, tmp_path: Path) -> None:
    async with agentdb.connect(f"sqlite:///{tmp_path / 'one.db'}", folder=tmp_path, **SEALED) as one:
        user = await make_user(one)
        kept = await one.hub.attachments.store(b"a", filename="a", purpose="mail", uploaded_by=user.id)
        stranger = await make_user(another)

        with pytest.raises(BadSettings, match="keeps the files of another database"):
            await another.hub.attachments.store(b"b", filename="b", purpose="mail", uploaded_by=stranger.id)
        with pytest.raises(BadSettings, match="AGENTDB_FOLDER"):
            await another.hub.attachments.collect(grace_seconds=0)

        assert (await one.hub.attachments.open(kept.public_id, user.id)).size == 1
        assert len(list((tmp_path / "attachments").glob("database-*"))) == 1


async def test_a_folder_stays_the_databases_when_it_is_opened_again_or_moved(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, first, second):
        if place is second:
            shutil.copytree(first, second)
        async with agentdb.connect(f"sqlite:///{place / 'a.db'}", folder=place, **SEALED) as db:
            user = await db.supervisor.users.add(username=f"user-{await db.supervisor.users.count()}")
            await db.hub.attachments.store(b"a", filename="a", purpose="mail", uploaded_by=user.id)
            await migrating.stamp(db.settings, "head")


async def test_a_unit_that_is_undone_leaves_the_folder_to_its_database(db: Database) -> None:
    user = await make_user(db)
    with pytest.raises(ZeroDivisionError):
        async with db.write() as unit:
            await unit.hub.attachments.store(b"a", filename="a", purpose="mail", uploaded_by=user.id)
            raise ZeroDivisionError

    kept = await db.hub.attachments.store(b"a", filename="a", purpose="mail", uploaded_by=user.id)
    assert kept.file_size == 1
