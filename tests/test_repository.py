"""What every table can do, alike on both databases."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

import agentdb
from agentdb.database import Database
from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.models import User
from agentdb.repository import Repository


class Users(Repository[User]):
    model = User


@pytest.fixture
def users(db: Database) -> Users:
    return Users(db._over)


async def _filled(users: Users, many: int = 10) -> None:
    await users.add_many([{"username": f"u{number}", "title": f"t{number % 3}"} for number in range(many)])


async def test_find_returns_none_and_get_raises(users: Users) -> None:
    user = await users.add(username="bob")

    assert (await users.get(user.id)).username == "bob"
    assert await users.find(99) is None
    with pytest.raises(NotFound, match="users has no row 99"):
        await users.get(99)
    with pytest.raises(BadInput, match="key of users"):
        await users.get(1, 2)


async def test_criteria_compare_as_their_names_say(users: Users) -> None:
    await _filled(users)

    assert await users.count() == 10
    assert await users.count(title="t0") == 4
    assert await users.count(title__ne="t0") == 6
    assert await users.count(id__le=3) == 3
    assert await users.count(id__gt=3, id__lt=5) == 1
    assert await users.count(id__ge=10) == 1
    assert await users.count(username__in=["u1", "u2", "nobody"]) == 2
    assert await users.count(username__in=[]) == 0
    assert await users.count(email=None) == 10
    assert await users.count(email__ne=None) == 0
    assert await users.count(email__ne="x") == 10
    assert await users.exists(username="u1")
    assert not await users.exists(username="nobody")


async def test_criteria_that_make_no_sense_are_refused(users: Users, subtests: pytest.Subtests) -> None:
    some: tuple[dict[str, Any], ...] = (
        {"nope": 1},
        {"id__like": 1},
        {"id__lt": None},
        {"username__in": "abc"},
        {"username": 5},
        {"id": "1"},
    )
    for criteria in some:
        with subtests.test(**criteria), pytest.raises(BadInput):
            await users.count(**criteria)


async def test_pages_show_every_row_once_in_order(users: Users, subtests: pytest.Subtests) -> None:
    await _filled(users)

    for by, newest_first in product((None, "created_at", "title", "uuid"), (False, True)):
        with subtests.test(by=by, newest_first=newest_first):
            seen: list[User] = []
            after: str | None = None
            while True:
                page = await users.page(by=by, newest_first=newest_first, limit=3, after=after)
                seen += page.items
                if page.next is None:
                    break
                after = page.next

            keys = [(getattr(user, by) if by else 0, user.id) for user in seen]
            assert len(seen) == 10
            assert keys == sorted(keys, reverse=newest_first)


async def test_pages_that_make_no_sense_are_refused(users: Users) -> None:
    await _filled(users)
    page = await users.page(limit=1)

    for call in (
        users.page(by="nope"),
        users.page(by="email"),
        users.page(limit=0),
        users.page(limit=True),
        users.page(after="x"),
        users.page(by="title", after=page.next),
        users.page(title="t0", after=page.next),
    ):
        with pytest.raises(BadInput):
            await call


async def test_a_limit_above_the_cap_is_the_cap(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url, page_limit=2) as db:
        await _filled(Users(db._over))
        page = await db.supervisor.users.page(limit=1_000)

    assert len(page.items) == 2


async def test_an_update_expects_a_version(users: Users) -> None:
    user = await users.add(username="bob")

    changed = await users.update(user.id, title="a", expected_version=1)
    with pytest.raises(StaleVersion, match="at version 2, not 1"):
        await users.update(user.id, title="b", expected_version=1)

    assert (changed.title, changed.version) == ("a", 2)
    with pytest.raises(NotFound):
        await users.update(99, title="a", expected_version=1)
    with pytest.raises(BadInput, match="nothing to change"):
        await users.update(user.id)


async def test_an_upsert_adds_or_changes(users: Users) -> None:
    first = await users.upsert(on=["username"], username="bob", title="a")
    second = await users.upsert(on=["username"], username="bob", title="b")

    assert (second.id, second.title, second.version, second.uuid) == (first.id, "b", 2, first.uuid)
    assert second.created_at == first.created_at
    with pytest.raises(BadInput, match="unique"):
        await users.upsert(on=["title"], username="bob", title="a")


async def test_removing_tells_whether_it_was_there_and_its_id_never_comes_back(users: Users) -> None:
    user = await users.add(username="bob")

    assert await users.remove(user.id)
    assert not await users.remove(user.id)
    assert (await users.add(username="eve")).id > user.id


async def test_a_stream_yields_every_row_in_the_order_of_its_key(users: Users) -> None:
    await users.add_many([{"username": f"u{number}"} for number in range(1_200)])

    ids = [user.id async for user in users.stream()]

    assert len(ids) == 1_200
    assert ids == sorted(ids)


async def test_adding_none_adds_none(users: Users) -> None:
    assert await users.add_many([]) == 0


async def test_what_never_changes_is_refused_in_a_change(users: Users, subtests: pytest.Subtests) -> None:
    user = await users.add(username="bob")

    for column in ("id", "uuid", "version", "created_at"):
        with subtests.test(updated=column), pytest.raises(BadInput, match=f"users.{column} "):
            await users.update(user.id, **{column: getattr(user, column)})
        with subtests.test(upserted=column), pytest.raises(BadInput, match=f"users.{column} "):
            await users.upsert(on=["username"], username="bob", **{column: getattr(user, column)})

    assert (await users.get(user.id)).version == 1


async def test_a_row_is_known_by_what_never_changes(users: Users) -> None:
    user = await users.add(username="bob")

    changed = await users.upsert(on=["uuid"], uuid=user.uuid, username="carl")

    assert (changed.id, changed.username) == (user.id, "carl")
    for wrong in (["email"], "username"):
        with pytest.raises(BadInput, match="names, in a list, columns"):
            await users.upsert(on=wrong, username="bob")
