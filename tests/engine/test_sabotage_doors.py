"""Guards of the engine that another guard would hide: each is the only one left in its test."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import literal_column, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

import agentdb
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.models import AuditLog
from agentdb.repository import Repository


class Entries(Repository[AuditLog]):
    model = AuditLog


def _counting(steps: int) -> Plan[int]:
    numbers = (
        f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps}) SELECT max(i) FROM n)"
    )
    return Plan[int](select(literal_column(numbers)), name="counting", point=True)


async def test_a_unit_that_has_only_read_is_the_writer_already(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as db, agentdb.connect(migrated_url) as other:
        async with db.write() as unit:
            await unit.supervisor.users.count()
            late = asyncio.create_task(other.supervisor.users.add(username="late"))
            await asyncio.sleep(0.1)
            await unit.supervisor.users.add(username="early")
        await late

        assert await db.supervisor.users.count() == 2


async def test_the_session_of_a_read_unit_cannot_write(db: Database) -> None:
    await db.supervisor.users.add(username="bob")

    with pytest.raises(DBAPIError):
        async with db.read() as unit:
            await unit.session.execute(text("DELETE FROM users"))

    assert await db.supervisor.users.count() == 1


async def test_replacing_a_row_of_what_is_append_only_is_refused(agentdb: Database) -> None:
    entry = await Entries(agentdb._over).add(actor_name="ada", action="create", entity="users")
    replaced = (
        "INSERT OR REPLACE INTO audit_log (id, actor_name, action, entity) VALUES (:id, 'eve', 'nothing', 'users')"
    )

    with pytest.raises(IntegrityError, match="audit_log is append-only"):
        async with agentdb.write() as unit:
            await unit.session.execute(text(replaced), {"id": entry.id})

    assert (await Entries(agentdb._over).get(entry.id)).actor_name == "ada"


async def test_a_short_read_is_answered_at_once_after_a_long_one(agentdb: Database) -> None:
    engine, short = agentdb._there(), _counting(1_000)
    assert await engine.fetch_one(_counting(1_000_000), {}) == 1_000_000

    for _ in range(20):
        turned: list[bool] = []
        asyncio.get_running_loop().call_soon(turned.append, True)
        assert await engine.fetch_one(short, {}) == 1_000
        assert not turned
