"""What a turn costs: the same at the ten thousandth message as at the hundredth."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
from sqlalchemy import text

import agentdb
from agentdb.conversation import appending, changing, reading
from agentdb.conversation.messages import Messages
from agentdb.criteria import page_plan, shape_of
from agentdb.database import Database
from agentdb.engine.dialects import POSTGRESQL, SQLITE
from agentdb.engine.plan import Plan
from agentdb.models import Resource
from agentdb.testing.factories import make_conversation

LONG = 10_000
SAID = "x" * 200
LOSS = 2  # how much a quantity that does not grow with the conversation may differ, in times

# SQLite gives the index of a constraint a name of its own: by its place in the table.
BY_POSITION = "uq_messages__conversation_id_position|sqlite_autoindex_messages_1"
BY_PARENT = "ix_messages__parent_id_position"
OWN = {"conversation_id": 1, "user_id": None}
PLACES = {"after_0": None, "after_1": 7}

LISTS: dict[str, tuple[Plan[Any], Mapping[str, Any], str]] = {
    "latest": (reading.LATEST, OWN, BY_POSITION),
    "before": (reading.BEFORE, {**OWN, "place": 5_000}, BY_POSITION),
    "after": (reading.AFTER, {**OWN, "place": 5_000}, BY_POSITION),
    "context": (reading.CONTEXT, OWN, BY_POSITION),
    "children": (reading.CHILDREN, {"message_id": 1, "place": 0, "user_id": None}, BY_PARENT),
    "newest": (changing.listing_plan("created_at", False), {"user_id": 1}, "ix_conversations__user_id_created_at_id"),
    "newest, further": (
        changing.listing_plan("created_at", True),
        {"user_id": 1, **PLACES},
        "ix_conversations__user_id_created_at_id",
    ),
    "recent": (
        changing.listing_plan("last_message_at", False),
        {"user_id": 1},
        "ix_conversations__user_id_last_message_at_id",
    ),
    "recent, further": (
        changing.listing_plan("last_message_at", True),
        {"user_id": 1, **PLACES},
        "ix_conversations__user_id_last_message_at_id",
    ),
    "deleted": (changing.listing_plan("deleted_at", False), {"user_id": 1}, "ix_conversations__user_id_deleted_at_id"),
    "deleted, further": (
        changing.listing_plan("deleted_at", True),
        {"user_id": 1, **PLACES},
        "ix_conversations__user_id_deleted_at_id",
    ),
    "a conversation's resources": (
        page_plan(Resource, shape_of(Resource, {"conversation_id": 7}), None, True, False),
        {"conversation_id": 7},
        "ix_resources__conversation_id_id",
    ),
    "a user's resources": (
        page_plan(Resource, shape_of(Resource, {"user_id": 7}), None, True, False),
        {"user_id": 7},
        "ix_resources__user_id_id",
    ),
}


async def grow(messages: Messages, conversation: int, first: int, last: int) -> None:
    """Fill a conversation with messages of these positions; every tenth answers the first."""
    await messages.connection.insert_many(
        Messages.model.__table__,  # type: ignore[arg-type]
        (
            {
                "conversation_id": conversation,
                "position": position,
                "role": "user",
                "content": SAID,
                "parent_id": 1 if position % 10 == 0 else None,
                "tokens": 7,
            }
            for position in range(first, last + 1)
        ),
    )


@pytest_asyncio.fixture
async def filled(db: Database) -> Database:
    """Return a database with one long conversation, a thousand short ones of one user, and others."""
    first = (await make_conversation(db)).id
    assert first == 1
    await grow(db.conversation.messages, first, 1, LONG)
    now = db.now()
    await db.supervisor.users.add_many({"username": f"other-{number}"} for number in range(100))
    await db.conversation.conversations.add_many(
        {
            "user_id": 1 + number % 20,
            "last_message_at": now if number % 5 else None,
            "deleted_at": now - timedelta(seconds=7_919 * number % 14_000) if number % 3 == 0 else None,
        }
        for number in range(14_000)
    )
    await db.conversation.resources.add_many(
        {"name": "n", "user_id": 1 + number % 100, "conversation_id": 1 + number % 100} for number in range(20_000)
    )
    async with db.sessions() as session:
        await session.execute(text("ANALYZE"))
        await session.commit()
    return db


async def driver_call(db: Database, plan: Plan[Any], values: Mapping[str, Any], prefix: str) -> list[Any]:
    """Return the rows of a plan's statement behind a prefix, from the driver itself."""
    async with db.write() as unit:
        connection = await unit.session.connection()
        compiled = plan.on(POSTGRESQL if connection.dialect.name == "postgresql" else SQLITE)
        given = {**({"limit": 10} if "limit" in {bind.name for bind in compiled.binds} else {}), **values}
        if "after_0" in given:
            given["after_0"] = db.now()
        arguments: Sequence[Any] = compiled.arguments(given, db.now())
        driver = (await connection.get_raw_connection()).driver_connection
        if isinstance(driver, aiosqlite.Connection):
            return list(await driver.execute_fetchall(f"EXPLAIN QUERY PLAN {compiled.text}", arguments))
        assert driver is not None
        return list(await driver.fetch(f"{prefix} {compiled.text}", *arguments))


@pytest.mark.long
async def test_each_list_reads_its_own_index_in_order(filled: Database) -> None:
    for name, (plan, values, index) in LISTS.items():
        told = "\n".join(row[-1] for row in await driver_call(filled, plan, values, "EXPLAIN"))

        assert any(one in told for one in index.split("|")), f"{name}\n{told}"
        assert "Seq Scan" not in told, f"{name}\n{told}"
        if name != "context":  # which sorts the summary and the page
            assert "Sort" not in told, f"{name}\n{told}"
            assert "TEMP B-TREE" not in told, f"{name}\n{told}"


@pytest.mark.long
async def test_the_tree_is_climbed_by_the_primary_key(filled: Database) -> None:
    for plan, values in (
        (reading.PATH, {"message_id": 5_000, "user_id": None}),
        (reading.BRANCHES, {**OWN, "limit": 5}),
        (appending._MOVE, {**OWN, "expected_position": None, "many": 1, "now": filled.now()}),
    ):
        told = "\n".join(row[-1] for row in await driver_call(filled, plan, values, "EXPLAIN"))

        assert "Seq Scan on messages" not in told, told
        assert "Seq Scan on conversations" not in told, told
        for line in told.splitlines():
            assert not line.startswith(("SCAN messages", "SCAN parent", "SCAN leaf", "SCAN conversations")), told


async def test_a_page_of_a_long_conversation_takes_the_work_of_a_short_ones(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    conversation = (await make_conversation(db)).id
    messages = db.conversation.messages

    async def work() -> dict[str, int]:
        async with db.sessions() as session:
            await session.execute(text("ANALYZE messages"))
            await session.commit()
        blocks = {}
        for name in ("latest", "context", "before", "after"):
            plan, values, _ = LISTS[name]
            given = {**values, "conversation_id": conversation, **({"place": 60} if "place" in values else {})}
            await driver_call(db, plan, given, "")  # the first reading of a page also writes its hint bits
            (row,) = await driver_call(db, plan, given, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)")
            (told,) = json.loads(row[0]) if isinstance(row[0], str) else row[0]
            blocks[name] = told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"]
        return blocks

    await grow(messages, conversation, 1, 200)
    short = await work()
    await grow(messages, conversation, 201, LONG)
    long = await work()

    assert {name: (short[name], long[name]) for name in short if long[name] > LOSS * short[name] + 4} == {}


@pytest.mark.long
async def test_the_bytes_a_turn_writes_do_not_grow(sqlite_url: str, postgresql_url: str) -> None:
    for url in (sqlite_url, postgresql_url):
        async with agentdb.connect(url) as db:
            conversation = (await make_conversation(db)).id
            await grow(db.conversation.messages, conversation, 1, 100)
            await _moved_to(db, conversation, 100)
            few = await _written(db, url, conversation)
            await grow(db.conversation.messages, conversation, 1_000, LONG)
            await _moved_to(db, conversation, LONG)
            many = await _written(db, url, conversation)

        assert few > 0
        assert many <= LOSS * few, url
        assert few <= 20 * 50_000  # a few pages each


async def _moved_to(db: Database, conversation: int, position: int) -> None:
    async with db.sessions() as session:
        moved = text("UPDATE conversations SET last_position = :position WHERE id = :id")
        await session.execute(moved, {"position": position, "id": conversation})
        await session.commit()


async def _written(db: Database, url: str, conversation: int) -> int:
    """Return how many bytes go to the log of the database for a few turns: twenty of them, or the least of twenty."""
    turns = 20
    for _ in range(turns):  # the first write to a page after a checkpoint stores all of it
        await db.conversation.messages.append(conversation, "user", SAID)
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        with sqlite3.connect(path) as raw:
            assert raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        for _ in range(turns):
            await db.conversation.messages.append(conversation, "user", SAID)
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116 (an empty loop may wait for it)
    written = []
    for _ in range(turns):
        before = await _log_position(db)
        await db.conversation.messages.append(conversation, "user", SAID)
        written.append(await _log_position(db) - before)
    return min(written)


async def _log_position(db: Database) -> int:
    async with db.sessions() as session:
        asked = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        return int((await session.execute(asked)).scalar_one())
