"""Runtime keys: shown once, never for a user who may not act, and not taken by a late hand."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound
from agentdb.supervisor.tokens import digest_of
from agentdb.testing.factories import make_user


async def test_a_key_finds_its_user_and_only_its_digest_is_kept(db: Database) -> None:
    bot = await make_user(db, kind="agent")

    key = await db.supervisor.runtime_keys.issue(bot.id)

    found = await db.supervisor.runtime_keys.user_of(key)
    assert (found.id, found.runtime_key_hash, len(key)) == (bot.id, digest_of(key), 43)
    with pytest.raises(NotFound):
        await db.supervisor.runtime_keys.user_of(digest_of(key))
    with pytest.raises(NotFound):
        await db.supervisor.runtime_keys.user_of("\ud800")
    with pytest.raises(BadInput):
        await db.supervisor.runtime_keys.user_of(b"bytes")  # type: ignore[arg-type]


async def test_a_new_key_replaces_the_old_one_and_a_late_hand_does_not_take_it(db: Database) -> None:
    keys = db.supervisor.runtime_keys
    bot = await make_user(db, kind="agent")
    old = await keys.issue(bot.id)
    new = await keys.issue(bot.id)

    assert not await keys.revoke(bot.id, digest=digest_of(old))

    assert (await keys.user_of(new)).id == bot.id
    with pytest.raises(NotFound):
        await keys.user_of(old)
    assert await keys.revoke(bot.id, digest=digest_of(new))
    assert not await keys.revoke(bot.id)
    with pytest.raises(NotFound):
        await keys.user_of(new)


async def test_whoever_may_not_act_gets_no_key(db: Database, subtests: pytest.Subtests) -> None:
    for stop in ("disable", "archive"):
        with subtests.test(stop=stop):
            bot = await make_user(db, kind="agent")
            await getattr(db.supervisor.users, stop)(bot.id)

            with pytest.raises(InvalidTransition, match="only an active user"):
                await db.supervisor.runtime_keys.issue(bot.id)
            with pytest.raises(NotFound):
                await db.supervisor.runtime_keys.issue(404)

            assert (await db.supervisor.users.get(bot.id)).runtime_key_hash is None


async def test_of_keys_that_are_made_while_a_user_is_disabled_none_is_left(db: Database) -> None:
    for _ in range(5):
        bot = await make_user(db, kind="agent")

        await asyncio.gather(
            *(db.supervisor.runtime_keys.issue(bot.id) for _ in range(5)),
            db.supervisor.users.disable(bot.id),
            *(db.supervisor.runtime_keys.issue(bot.id) for _ in range(5)),
            return_exceptions=True,
        )

        assert (await db.supervisor.users.get(bot.id)).runtime_key_hash is None


async def test_the_log_tells_of_keys_without_them(db: Database) -> None:
    bot = await make_user(db, kind="agent")
    await db.supervisor.runtime_keys.issue(bot.id, by=bot.id)
    await db.supervisor.runtime_keys.revoke(bot.id)

    entries = (await db.supervisor.audit.of_entity("users", bot.id, limit=2)).items
    assert [(entry.action, entry.actor_user_id, entry.detail) for entry in entries] == [
        ("revoke_runtime_key", None, {}),
        ("issue_runtime_key", bot.id, {}),
    ]
