"""Providers: their keys are sealed, and told by nothing but reveal()."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

import agentdb
from agentdb.database import Database
from agentdb.errors import BadInput, BadSettings, Conflict, DecryptionFailed, NotFound
from agentdb.testing.factories import make_user

KEY = "sk-provider-0123456789abcdef"


async def test_a_providers_key_is_sealed_and_only_reveal_returns_it(db: Database) -> None:
    entry = await db.catalog.providers.create("brook", api_key=KEY, endpoint="https://brook.example")

    listed = await db.catalog.providers.list()
    assert await db.catalog.providers.reveal(entry.id) == KEY
    assert listed.items == [entry]
    assert entry.has_api_key
    assert KEY not in repr(listed)
    async with db.read() as unit:
        stored = (await unit.session.execute(text("SELECT api_key FROM providers"))).scalar_one()
    assert KEY.encode() not in bytes(stored)


async def test_a_key_copied_to_another_provider_does_not_open(db: Database) -> None:
    one = await db.catalog.providers.create("brook", api_key=KEY)
    other = await db.catalog.providers.create("cinder", api_key="another")

    async with db.write() as unit:
        await unit.session.execute(
            text("UPDATE providers SET api_key = (SELECT api_key FROM providers WHERE id = :one) WHERE id = :other"),
            {"one": one.id, "other": other.id},
        )

    with pytest.raises(DecryptionFailed):
        await db.catalog.providers.reveal(other.id)


async def test_a_key_is_changed_and_taken_away(db: Database) -> None:
    entry = await db.catalog.providers.create("brook", api_key={"id": "a", "secret": "b"})

    first = await db.catalog.providers.reveal(entry.id)
    await db.catalog.providers.update(entry.id, api_key=KEY, api_type="chat")
    second = await db.catalog.providers.reveal(entry.id)
    changed = await db.catalog.providers.update(entry.id, api_key=None)

    assert (first, second) == ({"id": "a", "secret": "b"}, KEY)
    assert (changed.has_api_key, changed.api_type) == (False, "chat")
    assert await db.catalog.providers.reveal(entry.id) is None


async def test_providers_are_found_by_name_and_listed_in_pages(db: Database) -> None:
    for name in ("cinder", "ash", "brook"):
        await db.catalog.providers.create(name)

    page = await db.catalog.providers.list(limit=2)
    rest = await db.catalog.providers.list(limit=2, after=page.next)

    assert [entry.name for entry in [*page.items, *rest.items]] == ["ash", "brook", "cinder"]
    assert (await db.catalog.providers.by_name("ash")).name == "ash"
    with pytest.raises(NotFound):
        await db.catalog.providers.by_name("dew")


async def test_what_no_provider_can_be_is_refused(db: Database) -> None:
    entry = await db.catalog.providers.create("brook")

    with pytest.raises(Conflict):
        await db.catalog.providers.create("brook")
    wrong: list[dict[str, Any]] = [{}, {"uuid": "x"}, {"name": " "}, {"api_key": ""}]
    for changes in wrong:
        with pytest.raises(BadInput):
            await db.catalog.providers.update(entry.id, **changes)
    with pytest.raises(NotFound):
        await db.catalog.providers.update(404, name="x")


async def test_without_encryption_keys_no_key_is_stored() -> None:
    async with agentdb.connect("sqlite://") as db:
        with pytest.raises(BadSettings, match="AGENTDB_ENCRYPTION_KEYS"):
            await db.catalog.providers.create("brook", api_key=KEY)

        assert await db.catalog.providers.count() == 0


async def test_who_read_a_key_is_told(db: Database) -> None:
    user = await make_user(db)
    entry = await db.catalog.providers.create("brook", api_key=KEY)
    bare = await db.catalog.providers.create("cinder")

    await db.catalog.providers.reveal(entry.id, by=user.id)
    await db.catalog.providers.reveal(entry.id)
    await db.catalog.providers.reveal(bare.id)

    told = (await db.supervisor.audit.of_entity("providers", entry.id)).items
    assert [(line.action, line.actor_user_id) for line in told] == [("read", None), ("read", user.id), ("create", None)]
    assert KEY not in repr([line.detail for line in told])
    assert [line.action for line in (await db.supervisor.audit.of_entity("providers", bare.id)).items] == ["create"]


async def test_who_changes_a_provider_is_told_in_the_same_transaction(db: Database) -> None:
    user = await make_user(db)
    providers = db.catalog.providers
    entry = await providers.create("brook", api_key=KEY, by=user.id)

    await providers.update(entry.id, api_key=f"{KEY} anew", endpoint="https://brook.example", by=user.id)
    with pytest.raises(Conflict):
        await providers.create("brook", by=user.id)
    with pytest.raises(NotFound):
        await providers.update(404, endpoint="x", by=user.id)
    assert await providers.remove(entry.id, by=user.id)
    assert not await providers.remove(entry.id, by=user.id)

    told = [line for line in (await db.supervisor.audit.of_actor(user.id)).items if line.entity == "providers"]
    assert [(line.action, line.detail) for line in told] == [
        ("remove", {"name": "brook"}),
        ("update", {"columns": ["api_key", "endpoint"]}),
        ("create", {"name": "brook"}),
    ]
