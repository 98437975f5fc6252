"""Digests of tables: equal for equal rows on either database, and different for any other."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table, insert, select, text, update

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.schema.renumbering import numbered
from agentdb.errors import NotFound
from agentdb.models import Message, Run, User, VectorCollection, tables
from agentdb.models import Vector as VectorRow
from agentdb.operating.digests import TableDigest, table_digests
from agentdb.testing.factories import make_conversation, make_user
from tests.operating.filled import KEY, fill

OURS = [name for name in tables if name != "schema_version"]


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": KEY}


async def _carried(source: Database, target: Database) -> None:
    """Store each row of one database in another."""
    async with source.read() as there, target.write() as here:
        await here.session.execute(text("PRAGMA defer_foreign_keys = ON"))
        for name in OURS:
            table: Table = Entity.metadata.tables[name]
            kept = [column for column in table.columns if column not in numbered(table)]
            rows = [dict(row._mapping) for row in await there.session.execute(select(*kept))]
            if rows:
                await here.session.execute(insert(table), rows)


async def test_equal_rows_have_equal_digests_on_both_databases(agentdb: Database, agentdb_postgresql: Database) -> None:
    await fill(agentdb_postgresql)
    await _carried(agentdb_postgresql, agentdb)

    there, here = await table_digests(agentdb_postgresql, OURS), await table_digests(agentdb, OURS)

    assert {name for name in OURS if here[name] != there[name]} == set()
    filled = {name for name, digest in here.items() if digest.rows}
    assert filled >= {"users", "costs", "messages", "vectors", "providers", "attachments", "context_log", "variables"}


async def test_the_order_in_which_rows_came_does_not_matter_and_their_number_does(db: Database) -> None:
    empty = (await table_digests(db, ["users"]))["users"]
    for name in "ab":
        await make_user(db, username=name)
    one = (await table_digests(db, ["users"]))["users"]
    async with db.write() as unit:  # written last, it is read last where rows have no order
        await unit.session.execute(text("UPDATE users SET username = 'c' WHERE username = 'a'"))
        changed = await unit.session.scalar(text("SELECT count(*) FROM users"))
    other = (await table_digests(db, ["users"]))["users"]
    async with db.write() as unit:
        await unit.session.execute(text("UPDATE users SET username = 'a' WHERE username = 'c'"))
    again = (await table_digests(db, ["users"]))["users"]

    assert empty == TableDigest(0, "0" * 64)
    assert (changed, one.rows, other.rows) == (2, 2, 2)
    assert one.digest != other.digest
    assert again == one


async def _smallest_changes(db: Database) -> list[Any]:
    user = await make_user(db)
    conversation = await make_conversation(db, user_id=user.id)
    await db.conversation.messages.append(conversation.id, role="user", content=[{"type": "x", "a": 1}])
    notes: VectorCollection = await db.knowledge.collections.create(user.id, "notes", 2)
    await db.knowledge.vectors.put(user.id, notes.id, "a", [1, 0])
    return [
        update(User).values(uuid=uuid.uuid4()),
        update(User).values(status="disabled"),
        update(Message).values(content=[{"type": "x", "a": 2}]),
        update(Message).values(content=[{"type": "x", "b": 2}]),
        update(VectorRow).values(embedding=[1, 1e-30]),
        update(User).values(created_at=user.created_at + timedelta(microseconds=1)),
    ]


async def test_the_smallest_change_of_a_value_changes_its_tables_digest_and_no_other(db: Database) -> None:
    changes = await _smallest_changes(db)
    tables = {change.table.name for change in changes} | {"conversations", "vector_collections"}
    before = await table_digests(db, tables)
    for change in changes:
        async with db.write() as unit:
            await unit.session.execute(change)
        after = await table_digests(db, tables)

        assert {name for name in after if after[name] != before[name]} == {change.table.name}
        before = after


@pytest.mark.long
async def test_digests_are_of_one_moment_while_others_write(db: Database) -> None:
    """Each transaction adds a user and a run of it: at no moment is there one without the other."""
    await make_user(db)
    ended = asyncio.Event()

    async def write() -> None:
        while not ended.is_set():
            async with db.write() as unit:
                await make_user(unit)
                await unit.conversation.conversations.create(user_id=1)

    writer = asyncio.create_task(write())
    try:
        seen = [await table_digests(db, ["conversations", "users"]) for _ in range(6)]
    finally:
        ended.set()
        await writer

    assert {found["users"].rows - found["conversations"].rows for found in seen} == {1}
    assert len({found["users"].rows for found in seen}) > 1


async def test_a_table_that_is_not_there_is_named(db: Database) -> None:
    with pytest.raises(NotFound, match="there is no table nothing"):
        await table_digests(db, ["users", "nothing"])
    assert Run.__tablename__ in await table_digests(db)
