"""What is masked is what is secret now: at once in this process, after ten seconds in others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest_asyncio

import agentdb
from agentdb import clock
from agentdb.aggregates import Aggregates
from agentdb.database import Database
from agentdb.hub.masking import KnownSecrets, UnitSecrets
from agentdb.testing.factories import make_run_session

MONDAY = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def two(migrated_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Yield one database opened twice, as two processes would."""
    async with agentdb.connect(migrated_url) as one, agentdb.connect(migrated_url) as other:
        yield one, other


async def _redacted(within: Aggregates, text: str) -> str:
    (redacted,) = await within.hub.redaction.redact([text])
    return redacted


async def test_a_sensitive_variable_is_masked_as_soon_as_it_is_saved_and_until_it_is_not(db: Database) -> None:
    assert await _redacted(db, "token-1 token-2") == "token-1 token-2"

    await db.hub.variables.save("T", "token-1", sensitive=True)
    assert await _redacted(db, "token-1 token-2") == "[REDACTED:T] token-2"
    await db.hub.variables.save("T", "token-2", sensitive=True)
    assert await _redacted(db, "token-1 token-2") == "token-1 [REDACTED:T]"
    await db.hub.variables.save("T", "token-2")
    assert await _redacted(db, "token-1 token-2") == "token-1 token-2"
    await db.hub.variables.ensure("T", sensitive=True)
    assert await _redacted(db, "token-1 token-2") == "token-1 [REDACTED:T]"
    await db.hub.variables.remove("T")
    assert await _redacted(db, "token-1 token-2") == "token-1 token-2"


async def test_what_others_change_is_seen_after_ten_seconds(two: tuple[Database, Database]) -> None:
    one, other = two
    with clock.hold(MONDAY) as hand:
        await _redacted(other, "read now")
        await one.hub.variables.save("T", "token-1", sensitive=True)

        hand.forward(timedelta(seconds=9, microseconds=999_999))
        assert await _redacted(other, "token-1") == "token-1"  # what was read is used again, without a read
        hand.forward(timedelta(microseconds=1))
        assert await _redacted(other, "token-1") == "[REDACTED:T]"


async def test_a_clock_that_was_set_back_does_not_keep_what_is_old(two: tuple[Database, Database]) -> None:
    one, other = two
    with clock.hold(MONDAY):
        await _redacted(other, "read now")
    await one.hub.variables.save("T", "token-1", sensitive=True)

    with clock.hold(MONDAY - timedelta(days=1)):
        assert await _redacted(other, "token-1") == "[REDACTED:T]"


async def test_a_unit_masks_what_it_has_changed_and_others_do_once_it_is_committed(
    two: tuple[Database, Database],
) -> None:
    db, _ = two
    await db.hub.variables.save("OLD", "old-token", sensitive=True)
    text = "old-token new-token"
    with clock.hold(MONDAY):
        async with db.write() as unit:
            await unit.hub.variables.save("NEW", "new-token", sensitive=True)
            await unit.hub.variables.remove("OLD")

            assert await _redacted(unit, text) == "old-token [REDACTED:NEW]"
            # Another task reads in between, and keeps what it read.
            assert await asyncio.create_task(_redacted(db, text)) == "[REDACTED:OLD] new-token"

        assert await _redacted(db, text) == "old-token [REDACTED:NEW]"


async def test_what_is_rolled_back_was_never_secret(two: tuple[Database, Database]) -> None:
    db, _ = two
    await db.hub.variables.save("OLD", "old-token", sensitive=True)
    with clock.hold(MONDAY):
        with suppress(ZeroDivisionError):
            async with db.write() as unit:
                await unit.hub.variables.remove("OLD")
                await unit.hub.variables.save("NEW", "new-token", sensitive=True)
                await _redacted(unit, "read now")
                raise ZeroDivisionError

        assert await _redacted(db, "old-token new-token") == "[REDACTED:OLD] new-token"


async def test_what_a_unit_reads_before_it_changes_anything_is_known_to_all(two: tuple[Database, Database]) -> None:
    db, other = two
    with clock.hold(MONDAY):
        async with db.write() as unit:
            await _redacted(unit, "read now")
        await other.hub.variables.save("T", "token-1", sensitive=True)

        assert await _redacted(db, "token-1") == "token-1"


async def test_a_snapshot_is_not_taken_for_the_present(two: tuple[Database, Database]) -> None:
    db, other = two
    with clock.hold(MONDAY):
        async with db.read() as unit:
            await unit.hub.variables.list()
            await other.hub.variables.save("T", "token-1", sensitive=True)
            assert await _redacted(unit, "token-1") == "token-1"

        assert await _redacted(db, "token-1") == "[REDACTED:T]"


async def test_whoever_redacts_after_a_save_masks_it_however_many_read_at_the_same_time(db: Database) -> None:
    async def save_and_redact(number: int) -> str:
        await db.hub.variables.save(f"T{number}", f"token-{number:03}", sensitive=True)
        return await _redacted(db, f"token-{number:03}")

    masked = await asyncio.gather(*(save_and_redact(number) for number in range(40)))

    assert masked == [f"[REDACTED:T{number}]" for number in range(40)]


async def test_runtime_keys_are_known_to_all_units_of_this_database_and_to_no_other(
    two: tuple[Database, Database],
) -> None:
    db, other = two
    db.hub.redaction.register(7, "runtime-key")

    async with db.write() as unit:
        assert await _redacted(unit, "runtime-key") == "[REDACTED:NAISYS_API_KEY:7]"
        await unit.hub.variables.save("T", "token-1", sensitive=True)
        assert await _redacted(unit, "runtime-key token-1") == "[REDACTED:NAISYS_API_KEY:7] [REDACTED:T]"
    assert await _redacted(other, "runtime-key") == "runtime-key"

    db.hub.redaction.forget(7)
    assert await _redacted(db, "runtime-key token-1") == "runtime-key [REDACTED:T]"


async def test_long_texts_are_redacted_alike(db: Database) -> None:
    await db.hub.variables.save("T", "token-1", sensitive=True)
    long = "x" * 300_000

    assert await db.hub.redaction.redact([f"{long} token-1", None, "token-1"]) == [
        f"{long} [REDACTED:T]",
        "",
        "[REDACTED:T]",
    ]


def test_what_was_read_before_a_change_is_not_kept() -> None:
    known = KnownSecrets()
    stamp = known.stamp()
    known.changed()

    assert known.learn({"T": "token-1"}, MONDAY, stamp).knows({"T": "token-1"})
    assert known.fresh(MONDAY) is None
    known.learn({"T": "token-2"}, MONDAY, known.stamp())
    assert known.fresh(MONDAY) is not None


def test_what_a_unit_reads_after_it_has_changed_something_is_its_own() -> None:
    known = KnownSecrets()
    known.changed()
    with UnitSecrets(known, writes=True) as own:
        own.changed()
        own.learn({"T": "token-1"}, MONDAY, own.stamp())

        assert own.fresh(MONDAY) is not None
        assert known.fresh(MONDAY) is None


async def test_no_secret_is_stored_in_the_log(db: Database) -> None:
    session = await make_run_session(db)
    await db.hub.variables.save("T", "token-1", sensitive=True)
    db.hub.redaction.register(session.user_id, "runtime-key")

    (entry,) = await db.hub.logs.append(session, [{"role": "llm", "message": "token-1\nruntime-key"}])

    assert entry.message == f"[REDACTED:T]\n[REDACTED:NAISYS_API_KEY:{session.user_id}]"
    assert (await db.hub.logs.get(entry.id)).message == entry.message


async def test_a_unit_logs_without_the_secret_it_has_just_saved(db: Database) -> None:
    async with db.write() as unit:
        session = await make_run_session(unit)
        await unit.hub.logs.append(session, [{"role": "llm", "message": "token-1"}])
        await unit.hub.variables.save("T", "token-1", sensitive=True)
        await unit.hub.logs.append(session, [{"role": "llm", "message": "token-1"}])

    stored = await db.hub.logs.latest(session, limit=2)
    assert [entry.message for entry in stored] == ["[REDACTED:T]", "token-1"]
