"""The uses of access keys: counted in memory, written together, lost only by a crash."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta

import pytest

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.supervisor import key_use
from agentdb.supervisor.key_records import Issued
from agentdb.supervisor.key_use import KeyUses
from agentdb.supervisor.models import ApiKey
from agentdb.testing.factories import make_user

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


async def _issued(db: Database, many: int = 1) -> list[Issued]:
    user = await make_user(db)
    return [await db.supervisor.api_keys.issue(user.id, f"key {number}", by=None) for number in range(many)]


async def test_a_request_writes_nothing_and_a_flush_everything(db: Database) -> None:
    first, second = await _issued(db, 2)
    keys = db.supervisor.api_keys
    with clock.hold(MONDAY) as hand:
        for _ in range(3):
            await keys.authenticate(first.plaintext)
            hand.forward(timedelta(seconds=1))
        await keys.authenticate(second.plaintext)
    assert (await keys.get(first.key.id)).usage_count == 0

    assert await keys.uses.flush()

    one, other = await keys.get(first.key.id), await keys.get(second.key.id)
    assert (one.usage_count, one.last_used_at) == (3, MONDAY + timedelta(seconds=2))
    assert (other.usage_count, other.last_used_at) == (1, MONDAY + timedelta(seconds=3))


async def test_a_use_never_moves_the_last_one_back(db: Database) -> None:
    (issued,) = await _issued(db)
    uses = db.supervisor.api_keys.uses
    for at in (MONDAY + timedelta(days=1), MONDAY):
        uses.count(issued.key.id, at)
        await uses.flush()

    entry = await db.supervisor.api_keys.get(issued.key.id)

    assert (entry.usage_count, entry.last_used_at) == (2, MONDAY + timedelta(days=1))


async def test_a_key_that_is_gone_does_not_hold_up_the_others(db: Database) -> None:
    (issued,) = await _issued(db)
    uses = db.supervisor.api_keys.uses
    uses.count(10**9, MONDAY)
    uses.count(issued.key.id, MONDAY)

    assert await uses.flush()

    assert (await db.supervisor.api_keys.get(issued.key.id)).usage_count == 1


async def test_many_uses_are_written_by_themselves(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_use, "USES_BETWEEN_WRITES", 10)
    (issued,) = await _issued(db)

    for _ in range(10):
        await db.supervisor.api_keys.authenticate(issued.plaintext)

    await _until(db, issued, 10)


async def test_a_lone_use_is_written_after_a_while(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_use, "SECONDS_BETWEEN_WRITES", 0.01)
    (issued,) = await _issued(db)

    await db.supervisor.api_keys.authenticate(issued.plaintext)

    await _until(db, issued, 1)


async def _until(db: Database, issued: Issued, uses: int) -> None:
    async with asyncio.timeout(20):
        while (await db.supervisor.api_keys.get(issued.key.id)).usage_count != uses:  # noqa: ASYNC110 (a row)
            await asyncio.sleep(0.01)


async def test_uses_while_others_are_written_are_all_counted(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_use, "USES_BETWEEN_WRITES", 7)
    monkeypatch.setattr(key_use, "SECONDS_BETWEEN_WRITES", 0.001)
    issued = await _issued(db, 3)

    await asyncio.gather(*(db.supervisor.api_keys.authenticate(issued[number % 3].plaintext) for number in range(150)))
    await db.supervisor.api_keys.uses.flush()

    counted = [(await db.supervisor.api_keys.get(one.key.id)).usage_count for one in issued]
    assert counted == [50, 50, 50]


async def test_a_use_within_a_unit_is_counted_whatever_becomes_of_the_unit(db: Database) -> None:
    (issued,) = await _issued(db)

    async with db.read() as unit:
        await unit.supervisor.api_keys.authenticate(issued.plaintext)

    async def fail() -> None:
        async with db.write() as unit:
            await unit.supervisor.api_keys.authenticate(issued.plaintext)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    await db.supervisor.api_keys.uses.flush()
    assert (await db.supervisor.api_keys.get(issued.key.id)).usage_count == 2


async def test_closing_writes_what_was_counted_and_leaves_nothing_behind(migrated_url: str) -> None:
    tasks = asyncio.all_tasks()
    async with agentdb.connect(migrated_url) as db:
        (issued,) = await _issued(db)
        await db.supervisor.api_keys.authenticate(issued.plaintext)
    assert asyncio.all_tasks() == tasks
    assert not _timers()

    async with agentdb.connect(migrated_url) as again:
        assert (await again.supervisor.api_keys.get(issued.key.id)).usage_count == 1


async def test_a_use_that_comes_while_it_closes_leaves_nothing_behind(db: Database) -> None:
    (issued,) = await _issued(db)
    uses = KeyUses()
    uses.open(db.supervisor.api_keys.connection)
    uses.count(issued.key.id, MONDAY)

    closing = asyncio.create_task(uses.close())
    for _ in range(2):
        await asyncio.sleep(0)  # the closing begins, and then its write, which takes longer than a turn
    uses.count(issued.key.id, MONDAY)
    await closing
    uses.count(issued.key.id, MONDAY)

    assert not _timers()
    assert (await db.supervisor.api_keys.get(issued.key.id)).usage_count == 1


def _timers() -> list[asyncio.TimerHandle]:
    """Return what still would be called of those that wait for uses."""
    scheduled = (each for each in gc.get_objects() if isinstance(each, asyncio.TimerHandle))
    return [timer for timer in scheduled if not timer.cancelled() and "KeyUses" in repr(timer)]


async def test_a_database_that_is_opened_again_counts_again(migrated_url: str) -> None:
    db = agentdb.connect(migrated_url)
    async with db:
        (issued,) = await _issued(db)
        await db.supervisor.api_keys.authenticate(issued.plaintext)
    async with db:
        await db.supervisor.api_keys.authenticate(issued.plaintext)
    async with db:
        entry = await db.supervisor.api_keys.get(issued.key.id)

    assert entry.usage_count == 2


async def test_what_cannot_be_written_is_kept_for_the_next_time(db: Database) -> None:
    (issued,) = await _issued(db)
    uses = KeyUses()
    closed = agentdb.connect("sqlite://")
    uses.open(closed.supervisor.api_keys.connection)
    uses.count(issued.key.id, MONDAY)

    assert not await uses.flush()
    uses.open(db.supervisor.api_keys.connection)
    uses.count(issued.key.id, MONDAY - timedelta(days=1))
    assert await uses.flush()
    await uses.close()

    entry = await db.supervisor.api_keys.get(issued.key.id)
    assert (entry.usage_count, entry.last_used_at) == (2, MONDAY)


@pytest.mark.long
async def test_two_processes_that_write_at_once_are_both_counted(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as one, agentdb.connect(migrated_url) as other:
        issued = await _issued(one, 20)
        for _ in range(10):
            for place, key in enumerate(issued):
                one.supervisor.api_keys.uses.count(key.key.id, MONDAY)
                other.supervisor.api_keys.uses.count(issued[-1 - place].key.id, MONDAY)
            await asyncio.gather(one.supervisor.api_keys.uses.flush(), other.supervisor.api_keys.uses.flush())

        entries = (await one.supervisor.api_keys.list(issued[0].key.user_id)).items
        assert {entry.usage_count for entry in entries} == {20}


async def test_uses_whose_writing_was_cancelled_are_written_later_and_closing_ends(db: Database) -> None:
    first, second = await _issued(db, 2)
    uses = KeyUses()
    uses.open(db.supervisor.connection)
    uses.count(first.key.id, MONDAY)
    begun = uses._begin()
    begun.cancel()  # before any of its code has run
    uses.count(second.key.id, MONDAY)
    await asyncio.wait([begun])

    await asyncio.wait_for(uses.close(), 30)

    entries = [await db.supervisor.api_keys.get(issued.key.id) for issued in (first, second)]
    assert [entry.usage_count for entry in entries] == [1, 1]


async def test_whoever_waits_for_a_writing_that_is_cancelled_is_told_so(db: Database) -> None:
    (issued,) = await _issued(db)
    uses = KeyUses()
    uses.open(db.supervisor.connection)
    uses.count(issued.key.id, MONDAY)
    waiting = asyncio.ensure_future(uses.flush())
    await asyncio.sleep(0)
    assert uses._writing is not None
    uses._writing.cancel()

    told = await asyncio.wait_for(waiting, 30)

    assert told == (not uses._counted)
    await uses.close()
    assert (await db.supervisor.api_keys.get(issued.key.id)).usage_count >= 1


async def test_a_use_never_moves_the_moment_of_the_last_change_back(db: Database) -> None:
    with clock.hold(MONDAY + timedelta(days=1)):
        (issued,) = await _issued(db)
    uses = db.supervisor.api_keys.uses
    uses.count(issued.key.id, MONDAY)

    await uses.flush()

    async with db.read() as unit:
        key = await unit.session.get_one(ApiKey, issued.key.id)
    assert (key.updated_at, key.last_used_at) == (MONDAY + timedelta(days=1), MONDAY)
