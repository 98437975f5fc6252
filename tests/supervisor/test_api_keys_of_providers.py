"""Provider keys: sealed where they are stored, opened for whoever the audit log then names."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

import agentdb
from agentdb import clock
from agentdb.catalog.models import Provider
from agentdb.database import Database
from agentdb.errors import BadInput, BadSettings, DecryptionFailed, InvalidTransition, MissingReference, NotFound
from agentdb.supervisor.key_records import hint_of
from agentdb.supervisor.models import User
from agentdb.testing.factories import make_user

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
SECRET = "sk-live-4b1d5e60c2a94f7d8e3b" + "0123456789"


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": hashlib.sha256(b"provider keys").hexdigest()}


async def _provider(db: Database, name: str = "openai") -> int:
    async with db.write() as unit:
        provider = Provider(name=name)
        unit.session.add(provider)
        await unit.session.flush()
        return provider.id


async def _user_and_provider(db: Database) -> tuple[User, int]:
    return await make_user(db), await _provider(db)


async def test_a_stored_key_is_sealed_and_comes_back(db: Database) -> None:
    user, provider = await _user_and_provider(db)

    entry = await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", SECRET, by=user.id)

    assert (entry.kind, entry.provider_id, entry.name, entry.prefix) == ("provider", provider, "main", "sk-live...6789")
    async with db.read() as unit:
        stored = (await unit.session.execute(text("SELECT secret, digest FROM api_keys"))).one()
    assert SECRET.encode() not in bytes(stored.secret)
    assert stored.digest is None
    assert await db.supervisor.api_keys.reveal(entry.id, by=user.id) == SECRET


async def test_each_reading_is_counted_and_audited(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    entry = await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", SECRET, by=user.id)

    with clock.hold(MONDAY):
        await db.supervisor.api_keys.reveal(entry.id, by=user.id)
        await db.supervisor.api_keys.reveal(entry.id, by=user.id)

    entries = (await db.supervisor.audit.of_entity("api_keys", entry.id)).items
    assert [(one.action, one.actor_name) for one in entries] == [
        ("read", user.username),
        ("read", user.username),
        ("store", user.username),
    ]
    seen = await db.supervisor.api_keys.get(entry.id)
    assert (seen.usage_count, seen.last_used_at) == (2, MONDAY)


async def test_a_key_of_the_same_name_is_replaced_in_its_row(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    first = await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", SECRET, by=None)
    await db.supervisor.api_keys.mark_valid(first.id, valid=False)
    await db.supervisor.api_keys.revoke(first.id, by=None)

    again = await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", "another" * 9, by=None)

    assert (again.id, again.uuid, again.is_valid, again.is_active) == (first.id, first.uuid, True, True)
    assert again.revoked_at is None
    assert await db.supervisor.api_keys.reveal(again.id, by=None) == "another" * 9


async def test_keys_of_one_name_stored_at_once_are_one_that_opens(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    secrets = [f"secret number {number}" for number in range(8)]

    entries = await asyncio.gather(
        *(db.supervisor.api_keys.store_provider_key(user.id, provider, "main", secret, by=None) for secret in secrets)
    )

    assert len({(entry.id, entry.uuid) for entry in entries}) == 1
    assert await db.supervisor.api_keys.reveal(entries[0].id, by=None) in secrets


async def test_a_name_is_of_a_user_and_a_provider(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    other_user, other_provider = await make_user(db), await _provider(db, "google")
    keys = db.supervisor.api_keys
    first = await keys.store_provider_key(user.id, provider, "main", "one", by=None)
    second = await keys.store_provider_key(user.id, other_provider, "main", "two", by=None)
    third = await keys.store_provider_key(other_user.id, provider, "main", "three", by=None)
    await keys.issue(user.id, "main", by=None)

    assert len({first.id, second.id, third.id}) == 3
    assert await keys.find_provider_key(user.id, other_provider, "main") == second
    assert await keys.find_provider_key(user.id, provider, "other") is None
    assert [key.id for key in (await keys.list(user.id, kind="provider")).items] == [second.id, first.id]


async def test_a_key_that_has_ended_is_not_read(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    keys = db.supervisor.api_keys
    with clock.hold(MONDAY) as hand:
        expires_at = MONDAY + timedelta(days=1)
        expiring = await keys.store_provider_key(user.id, provider, "a", SECRET, expires_at=expires_at, by=None)
        revoked = await keys.store_provider_key(user.id, provider, "b", SECRET, by=None)
        access = await keys.issue(user.id, "c", by=None)
        await keys.revoke(revoked.id, by=None)
        hand.forward(timedelta(days=1))

        for ended in (expiring, revoked):
            with pytest.raises(InvalidTransition):
                await keys.reveal(ended.id, by=None)
        for unknown in (access.key.id, 10**9):
            with pytest.raises(NotFound):
                await keys.reveal(unknown, by=None)
            with pytest.raises(NotFound):
                await keys.mark_valid(unknown, valid=True)

    assert await db.supervisor.audit.count(action="read") == 0


async def test_a_key_that_was_copied_to_another_row_does_not_open(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    keys = db.supervisor.api_keys
    first = await keys.store_provider_key(user.id, provider, "a", SECRET, by=None)
    second = await keys.store_provider_key(user.id, provider, "b", "mine", by=None)
    async with db.write() as unit:
        copied = "UPDATE api_keys SET secret = (SELECT secret FROM api_keys WHERE id = :first) WHERE id = :second"
        await unit.session.execute(text(copied), {"first": first.id, "second": second.id})

    with pytest.raises(DecryptionFailed):
        await keys.reveal(second.id, by=None)

    assert await db.supervisor.audit.count(action="read") == 0
    assert (await keys.get(second.id)).usage_count == 0


async def test_what_the_provider_says_of_a_key_is_kept(db: Database) -> None:
    user, provider = await _user_and_provider(db)
    entry = await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", SECRET, by=None)

    assert not (await db.supervisor.api_keys.mark_valid(entry.id, valid=False)).is_valid
    assert not (await db.supervisor.api_keys.get(entry.id)).is_valid
    assert (await db.supervisor.api_keys.mark_valid(entry.id, valid=True)).is_valid


NOT_STORED: list[dict[str, object]] = [
    {"secret": ""},
    {"secret": " "},
    {"secret": 7},
    {"secret": "\ud800"},
    {"name": ""},
]


async def test_what_cannot_be_stored_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user, provider = await _user_and_provider(db)

    for wrong in NOT_STORED:
        with subtests.test(wrong=wrong), pytest.raises(BadInput):
            await db.supervisor.api_keys.store_provider_key(
                user.id,
                provider,
                **{"name": "main", "secret": SECRET, "by": None, **wrong},  # type: ignore[arg-type]
            )


async def test_a_key_needs_a_user_and_a_provider(db: Database) -> None:
    user, provider = await _user_and_provider(db)

    for user_id, provider_id in ((10**9, provider), (user.id, 10**9)):
        with pytest.raises(MissingReference):
            await db.supervisor.api_keys.store_provider_key(user_id, provider_id, "main", SECRET, by=None)

    assert await db.supervisor.audit.count(action="store") == 0


async def test_without_an_encryption_key_nothing_is_stored(database_url: str) -> None:
    async with agentdb.connect(database_url) as db:
        user, provider = await _user_and_provider(db)

        with pytest.raises(BadSettings, match="AGENTDB_ENCRYPTION_KEYS"):
            await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", SECRET, by=None)

        assert (await db.supervisor.api_keys.list(user.id)).items == []


def test_a_hint_tells_at_most_a_third(subtests: pytest.Subtests) -> None:
    for secret, hint in (("short", "***"), ("x" * 32, "***"), ("abcdefg" + "x" * 22 + "wxyz", "abcdefg...wxyz")):
        with subtests.test(secret=secret, hint=hint):
            assert hint_of(secret) == hint


@pytest.mark.parametrize("gone", ["disable", "archive"])
async def test_a_key_of_somebody_who_may_not_act_is_not_read(db: Database, gone: str) -> None:
    user, provider = await _user_and_provider(db)
    entry = await db.supervisor.api_keys.store_provider_key(user.id, provider, "main", SECRET, by=None)
    await getattr(db.supervisor.users, gone)(user.id)

    with pytest.raises(InvalidTransition):
        await db.supervisor.api_keys.reveal(entry.id, by=None)

    assert (await db.supervisor.api_keys.get(entry.id)).usage_count == 0
    if gone == "disable":
        await db.supervisor.users.enable(user.id)
        assert await db.supervisor.api_keys.reveal(entry.id, by=None) == SECRET
