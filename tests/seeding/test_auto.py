"""AGENTDB_SEED seeds an empty database once, and AGENTDB_TEST_API_KEY makes the test administrator."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys

import pytest
from sqlalchemy import text

import agentdb
from agentdb import seeding
from agentdb.database import Database
from agentdb.errors import BadSettings, NotFound
from agentdb.supervisor.access import Permission
from agentdb.supervisor.key_records import new_key

CHILD = """
import asyncio, sys, agentdb

async def main():
    async with agentdb.connect(sys.argv[1]) as db:
        print(await db.catalog.models.count())

asyncio.run(main())
"""


async def test_connecting_seeds_an_empty_database_when_the_settings_say_so(database_url: str) -> None:
    async with agentdb.connect(database_url) as db:
        before = await db.catalog.models.count()
    async with agentdb.connect(database_url, seed="auto") as db:
        seeded = await db.catalog.models.count()
        await db.catalog.models.save_custom("ours")
        for model in (await db.catalog.models.list(is_custom=False, limit=1000)).items:
            await db.catalog.models.remove(model.id)
    async with agentdb.connect(database_url, seed="auto") as db:
        after = await db.catalog.models.count()

    assert (before, seeded, after) == (0, 41, 1)


@pytest.mark.long
async def test_of_processes_that_start_at_once_one_seeds(database_url: str) -> None:
    environment = {**os.environ, "AGENTDB_SEED": "auto"}

    async def child() -> tuple[int | None, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, database_url, env=environment, stdout=-1, stderr=-1
        )
        told, complained = await process.communicate()
        return process.returncode, told.strip(), complained

    outcomes = await asyncio.gather(*(child() for _ in range(3)))

    assert outcomes == [(0, b"41", b"")] * 3
    async with agentdb.connect(database_url) as db:
        assert await db.catalog.models.count() == 41
        assert await db.catalog.agents.count() == 3


async def test_who_finds_the_database_seeded_after_waiting_leaves_it_as_it_is(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as db:
        async with db.write() as unit:
            await seeding.seed(unit)
            await unit.catalog.models.remove(1)
            opening = asyncio.create_task(agentdb.connect(migrated_url, seed="auto").open())
            await asyncio.sleep(0.5)  # it has found an empty database, and waits for this one
        other = await opening
        await other.close()

        assert await db.catalog.models.count() == 40


async def test_the_test_administrator_has_the_key_of_the_environment(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = new_key(), new_key()
    monkeypatch.setenv("AGENTDB_TEST_API_KEY", key)

    first = await db.seed()
    monkeypatch.setenv("AGENTDB_TEST_API_KEY", other)
    again = await db.seed()

    caller = await db.supervisor.api_keys.authenticate(key)
    admin = await db.supervisor.users.by_username("admin")
    assert (first.test_administrator, again.test_administrator) == (True, False)
    assert (caller.user_id, caller.username) == (admin.id, "admin")
    assert caller.may("anything")
    granted = [grant.permission for grant in await db.supervisor.permissions.of_user(admin.id)]
    assert granted == [Permission.supervisor_admin]
    with pytest.raises(NotFound):
        await db.supervisor.api_keys.authenticate(other)
    async with db.read() as unit:
        (stored,) = (await unit.session.execute(text("SELECT digest, prefix, secret FROM api_keys"))).all()
    assert stored.digest == hashlib.sha256(key.encode()).hexdigest()
    assert key not in repr(stored)


async def test_a_malformed_key_is_refused_before_anything_is_loaded(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDB_TEST_API_KEY", "hunter2-hunter2")

    with pytest.raises(BadSettings, match="AGENTDB_TEST_API_KEY") as refused:
        await db.seed()

    assert "hunter2" not in str(refused.value)
    assert await db.supervisor.roles.count() == 0
    assert await db.supervisor.users.count() == 0
