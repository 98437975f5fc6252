"""Columns of users: changed with a word in the audit log, and followers told when a user stands otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, StaleVersion
from agentdb.testing.factories import make_user

SECRET = {"key": "nobody reads this"}


async def _told(db: Database, user_id: int) -> list[tuple[str, int | None, Any]]:
    entries = (await db.supervisor.audit.of_entity("users", user_id)).items
    return [(entry.action, entry.actor_user_id, entry.detail) for entry in reversed(entries)][1:]


async def test_a_change_by_columns_is_told_with_their_names_alone(db: Database) -> None:
    boss, ada = await make_user(db), await make_user(db)
    users = db.supervisor.users

    await users.update(ada.id, by=boss.id, config=SECRET, title="Countess")
    changed = await users.upsert(on=["username"], username=ada.username, first_name="Ada", by=boss.id)

    assert (changed.id, changed.first_name, changed.title, changed.version) == (ada.id, "Ada", "Countess", 3)
    assert await _told(db, ada.id) == [
        ("update", boss.id, {"columns": ["config", "title"]}),
        ("update", boss.id, {"columns": ["first_name"]}),
    ]


async def test_an_upsert_of_somebody_new_is_a_creation(db: Database) -> None:
    boss = await make_user(db)

    calls = (
        db.supervisor.users.upsert(on=["username"], username="ada", title=str(number), by=boss.id)
        for number in range(6)
    )
    users = await asyncio.gather(*calls)

    (user_id,) = {user.id for user in users}
    entries = (await db.supervisor.audit.of_entity("users", user_id)).items
    assert sorted(entry.action for entry in entries) == ["create", *["update"] * 5]
    assert (await db.supervisor.users.get(user_id)).version == 6


async def test_a_change_that_is_refused_is_not_told(db: Database) -> None:
    ada = await make_user(db)

    with pytest.raises(StaleVersion):
        await db.supervisor.users.update(ada.id, expected_version=7, title="Lady")

    assert await _told(db, ada.id) == []


@pytest.mark.parametrize("way", ["update", "upsert"])
async def test_another_address_is_not_verified_and_the_same_one_stays_so(db: Database, way: str) -> None:
    users, moment = db.supervisor.users, datetime(2026, 1, 1, tzinfo=UTC)
    ada = await users.create("ada", email="ada@example.org", email_verified_at=moment)

    async def change(**values: Any) -> Any:
        if way == "update":
            return await users.update(ada.id, **values)
        return await users.upsert(on=["username"], username="ada", **values)

    assert (await change(email="ADA@example.org", title="Lady")).email_verified_at == moment
    assert (await change(email="lovelace@example.org")).email_verified_at is None
    assert (await change(email="ada@example.org", email_verified_at=moment)).email_verified_at == moment
    assert (await change(email=None)).email_verified_at is None


async def test_what_never_changes_of_a_user_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    ada = await make_user(db)

    for column in ("id", "uuid", "version", "created_at"):
        with subtests.test(column=column):
            with pytest.raises(BadInput, match=f"users.{column} "):
                await db.supervisor.users.update(ada.id, **{column: getattr(ada, column)})
            with pytest.raises(BadInput, match=f"users.{column} "):
                await db.supervisor.users.upsert(
                    on=["username"], username=ada.username, **{column: getattr(ada, column)}
                )


Act = Callable[[Database, int], Awaitable[Any]]


ACTS: dict[str, Act] = {
    "disable": lambda db, user_id: db.supervisor.users.disable(user_id),
    "archive": lambda db, user_id: db.supervisor.users.archive(user_id),
    "rename": lambda db, user_id: db.supervisor.users.rename(user_id, "somebody-else"),
    "disable_tree": lambda db, user_id: db.supervisor.leads.disable_tree(user_id),
}


async def test_those_who_follow_are_told_when_a_user_stands_otherwise(db: Database, subtests: pytest.Subtests) -> None:
    for name, act in ACTS.items():
        with subtests.test(act=name):
            ada, _ = await make_user(db), await make_user(db)
            cursor = await db.hub.notifications.end()

            await act(db, ada.id)

            (change,) = await db.hub.notifications.changed(after=cursor)
            assert change.row.user_id == ada.id


async def test_every_further_standing_is_told_and_none_that_is_no_change(db: Database) -> None:
    users, ada, boss = db.supervisor.users, await make_user(db), await make_user(db)
    await users.archive(ada.id)

    async def told(act: Awaitable[Any], cursor: str) -> bool:
        await act
        return bool(await db.hub.notifications.changed(after=cursor))

    end = db.hub.notifications.end
    assert not await told(users.archive(ada.id), await end())
    assert await told(users.restore(ada.id), await end())
    assert await told(users.enable(ada.id), await end())
    assert await told(db.supervisor.leads.set_lead(ada.id, boss.id), await end())


async def test_a_value_of_another_type_is_told_to_be_wrong(db: Database) -> None:
    user = await make_user(db)
    calls: list[Awaitable[Any]] = [
        db.supervisor.users.create("ada", email=5),  # type: ignore[arg-type]
        db.supervisor.users.by_email(5),  # type: ignore[arg-type]
        db.supervisor.users.search(5),  # type: ignore[arg-type]
        db.supervisor.users.update(user.id, email=5),
        db.supervisor.passwords.verify(5, "correct horse"),  # type: ignore[arg-type]
        db.supervisor.logins.start(user.id, ttl_seconds="5"),  # type: ignore[arg-type]
        db.supervisor.registrations.issue(user.id, ttl_seconds="5"),  # type: ignore[arg-type]
        db.supervisor.permissions.grant(user.id, 5, by=None),  # type: ignore[arg-type]
        db.supervisor.passkeys.enroll(user.id, credential_id="c", public_key="k", counter="5"),
        db.supervisor.passkeys.enroll(user.id, credential_id="c", public_key="k", transports=[5]),
        db.supervisor.passkeys.rename(user.id, 1, 5),  # type: ignore[arg-type]
        db.supervisor.api_keys.issue(user.id, "k", scopes=5, by=None),  # type: ignore[arg-type]
        db.supervisor.api_keys.issue(user.id, "k", expires_at="soon", by=None),  # type: ignore[arg-type]
        db.supervisor.api_keys.rotate(1, overlap_seconds="5", by=None),  # type: ignore[arg-type]
        db.supervisor.api_keys.remove_expired("soon"),  # type: ignore[arg-type]
    ]

    for call in calls:
        with pytest.raises(BadInput):
            await call
