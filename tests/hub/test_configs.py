"""Configurations: every change leaves what was before, and no editor's work is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound, StaleVersion
from agentdb.hub.settings import Revision
from agentdb.models import User, UserNotification
from agentdb.repository import Repository
from agentdb.testing.factories import make_user


class Notifications(Repository[UserNotification]):
    model = UserNotification


async def _revisions(db: Database, user: User) -> list[Revision]:
    return (await db.hub.configs.revisions(user.id)).items


async def test_edits_leave_what_was_before_newest_first(db: Database) -> None:
    user = await make_user(db, config={"shell": "A"})
    for shell in ("B", "C"):
        await db.hub.configs.update(user.id, {"shell": shell})

    revisions = await _revisions(db, user)

    assert [revision.config for revision in revisions] == [{"shell": "B"}, {"shell": "A"}]
    stored = await db.supervisor.users.get(user.id)
    assert (stored.config, stored.version) == ({"shell": "C"}, user.version + 2)


SAME: list[dict[str, Any]] = [
    {"a": {"x": 1, "y": [1, 2.5]}, "b": None, "big": 2**62, "on": True},
    {"on": True, "big": 2**62, "b": None, "a": {"y": [1, 2.5], "x": 1}},
    {"a": {"x": 1.0, "y": (1, 2.5)}, "b": None, "big": 2**62, "on": True},
]


async def test_a_configuration_of_the_same_value_changes_nothing(db: Database, subtests: pytest.Subtests) -> None:
    for again in SAME:
        with subtests.test(again=again):
            user = await make_user(db, config={"a": {"x": 1, "y": [1, 2.5]}, "b": None, "big": 2**62, "on": True})

            same = await db.hub.configs.update(user.id, again)

            assert (same.version, same.updated_at, same.config) == (user.version, user.updated_at, user.config)
            assert await _revisions(db, user) == []


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1}, {"a": True}),
    ({"a": 0}, {"a": False}),
    ({"a": 2**62}, {"a": 2**62 + 1}),
    ({"a": 2**62 + 1}, {"a": float(2**62)}),
    ({"a": "1"}, {"a": 1}),
    ({"a": [1, 2]}, {"a": [2, 1]}),
    ({"a": None}, {}),
    ({"a": None}, {"b": None}),
    ({"a": []}, {"a": {}}),
    ({"a": [1]}, {"a": [1, 1]}),
]


async def test_a_configuration_of_another_value_is_a_change(db: Database, subtests: pytest.Subtests) -> None:
    for before, after in CHANGES:
        with subtests.test(before=before, after=after):
            user = await make_user(db, config=before)

            changed = await db.hub.configs.update(user.id, after)

            assert (changed.config, changed.version) == (after, user.version + 1)
            assert [revision.config for revision in await _revisions(db, user)] == [before]


async def test_an_import_of_another_username_keeps_the_users_own(db: Database) -> None:
    user = await make_user(db, username="bob", config={"username": "bob"})

    changed = await db.hub.configs.update(user.id, {"username": "eve", "title": "Builder"})
    again = await db.hub.configs.update(user.id, {"title": "Builder", "username": "mallory"})

    assert (changed.username, changed.config) == ("bob", {"username": "bob", "title": "Builder"})
    assert again.version == changed.version
    left_out = await db.hub.configs.update(user.id, {"title": "Planner"})
    assert left_out.config == {"username": "bob", "title": "Planner"}


async def test_the_title_follows_the_configuration(db: Database) -> None:
    user = await make_user(db, title="First")

    assert (await db.hub.configs.update(user.id, {"title": "Second"})).title == "Second"
    assert (await db.hub.configs.update(user.id, {"other": 1})).title == "Second"
    assert (await db.hub.configs.update(user.id, {"title": ["odd"]})).title == "Second"


async def test_who_changed_it_is_told_and_the_user_when_nobody_is_named(db: Database) -> None:
    user, admin = await make_user(db, username="bob"), await make_user(db, username="admin")
    await db.hub.configs.update(user.id, {"a": 1}, changed_by_id=admin.id)
    await db.hub.configs.update(user.id, {"a": 2})
    await db.supervisor.users.remove(admin.id)

    own, others = await _revisions(db, user)

    assert (own.changed_by, own.changed_by_id) == ("bob", user.id)
    assert (others.changed_by, others.changed_by_id) == (None, None)


async def test_of_two_editors_who_read_the_same_version_one_wins(db: Database) -> None:
    user = await make_user(db)
    edits = (db.hub.configs.update(user.id, {"editor": number}, expected_version=user.version) for number in range(8))

    answers = await asyncio.gather(*edits, return_exceptions=True)

    won = [answer for answer in answers if isinstance(answer, User)]
    assert len(won) == 1
    assert all(isinstance(answer, StaleVersion) for answer in answers if answer is not won[0])
    assert (await db.supervisor.users.get(user.id)).config == won[0].config
    assert [revision.config for revision in await _revisions(db, user)] == [{}]


async def test_editors_at_once_who_expect_nothing_leave_a_revision_each(db: Database) -> None:
    user = await make_user(db)

    await asyncio.gather(*(db.hub.configs.update(user.id, {"editor": number}) for number in range(8)))

    stored = await db.supervisor.users.get(user.id)
    kept = [stored.config, *(revision.config for revision in await _revisions(db, user))]
    assert sorted(config["editor"] for config in kept if config) == list(range(8))
    assert (stored.version, kept[-1]) == (user.version + 8, {})


async def test_an_old_version_is_refused_even_when_nothing_would_change(db: Database) -> None:
    user = await make_user(db)
    await db.hub.configs.update(user.id, {"a": 1})

    with pytest.raises(StaleVersion, match=f"at version {user.version + 1}, not {user.version}"):
        await db.hub.configs.update(user.id, {"a": 1}, expected_version=user.version)


async def test_a_revision_is_restored_by_another_change(db: Database) -> None:
    user = await make_user(db, username="bob", title="Old", config={"title": "Old", "username": "bob"})
    await db.hub.configs.update(user.id, {"title": "New"})
    (old,) = await _revisions(db, user)

    restored = await db.hub.configs.restore(user.id, old.id, expected_version=user.version + 1)

    assert (restored.config, restored.title) == ({"title": "Old", "username": "bob"}, "Old")
    assert [revision.config["title"] for revision in await _revisions(db, user)] == ["New", "Old"]


async def test_what_is_not_there_is_not_found(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    await db.hub.configs.update(other.id, {"a": 1})
    (revision,) = await _revisions(db, other)

    with pytest.raises(NotFound):
        await db.hub.configs.update(10**9, {"a": 1})
    with pytest.raises(NotFound):
        await db.hub.configs.restore(user.id, revision.id)
    with pytest.raises(MissingReference):
        await db.hub.configs.update(user.id, {"a": 1}, changed_by_id=10**9)
    assert (await db.supervisor.users.get(user.id)).version == user.version
    assert await _revisions(db, user) == []


NO_CONFIGURATIONS: list[Any] = [["a"], "text", None, {"a": float("nan")}, {"a": "\0"}, {"a": 2**70}]


async def test_what_is_no_configuration_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for config in NO_CONFIGURATIONS:
        with subtests.test(config=config), pytest.raises(BadInput):
            await db.hub.configs.update(user.id, config)


async def test_a_malformed_configuration_breaks_neither_a_list_nor_a_change(db: Database) -> None:
    user = await make_user(db, config={})
    async with db.write() as unit:
        await unit.session.execute(text("""UPDATE users SET config = '["odd"]'"""))

    await db.hub.configs.update(user.id, {"a": 1})

    (revision,) = await _revisions(db, user)
    assert revision.config == ["odd"]
    with pytest.raises(BadInput, match="JSON object"):
        await db.hub.configs.restore(user.id, revision.id)


async def test_revisions_come_in_pages_of_one_user(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    for number in range(6):
        await db.hub.configs.update(user.id, {"n": number})
        await db.hub.configs.update(other.id, {"n": -number})

    first = await db.hub.configs.revisions(user.id, limit=4)
    rest = await db.hub.configs.revisions(user.id, limit=4, after=first.next)

    assert [revision.config.get("n") for revision in (*first.items, *rest.items)] == [4, 3, 2, 1, 0, None]
    assert rest.next is None
    with pytest.raises(BadInput, match="another list"):
        await db.hub.configs.revisions(other.id, after=first.next)


async def test_a_change_is_noticed_by_those_who_follow_users_and_a_rollback_takes_all_of_it(db: Database) -> None:
    user = await make_user(db)
    with suppress(ZeroDivisionError):
        async with db.write() as unit:
            await unit.hub.configs.update(user.id, {"a": 1})
            raise ZeroDivisionError
    assert await _revisions(db, user) == []

    changed = await db.hub.configs.update(user.id, {"a": 1})

    assert (await Notifications(db._over).get(user.id)).updated_at == changed.updated_at


async def test_a_user_is_found_by_the_title_that_the_config_gives(db: Database) -> None:
    user = await make_user(db)

    await db.hub.configs.update(user.id, {"title": "Chief Éditeur"})

    assert [found.id for found in (await db.supervisor.users.search("éditeur")).items] == [user.id]
