"""Policies: created, changed and removed under the eyes of the audit log."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, NotFound
from agentdb.testing.factories import make_user


async def _told(db: Database, entity: str, row_id: int) -> list[tuple[str, int | None]]:
    entries = (await db.supervisor.audit.of_entity(entity, row_id)).items
    return [(entry.action, entry.actor_user_id) for entry in reversed(entries)]


async def test_whatever_becomes_of_a_policy_is_told(db: Database) -> None:
    policies, boss = db.supervisor.policies, await make_user(db)
    policy = await policies.create("talk", "chat", "use", by=boss.id)

    changed = await policies.change(policy.id, action="*", by=boss.id)
    again = await policies.define("talk", "chat", "*", by=boss.id)
    defined = await policies.define("talk", "mail", "read", by=None)
    removed = await policies.remove(policy.id, by=boss.id)

    assert (changed.resource, changed.action) == ("chat", "*")
    assert again.updated_at == changed.updated_at
    assert (defined.id, defined.resource, defined.action) == (policy.id, "mail", "read")
    assert removed
    assert not await policies.remove(policy.id, by=boss.id)
    assert await _told(db, "policies", policy.id) == [
        ("create", boss.id),
        ("change", boss.id),
        ("define", None),
        ("remove", boss.id),
    ]


async def test_a_policy_that_goes_is_taken_from_its_roles(db: Database) -> None:
    policy = await db.supervisor.policies.create("talk", "chat", "use", by=None)
    role = await db.supervisor.roles.create("member", by=None)
    await db.supervisor.roles.set_policies(role.id, [("chat", "use")], by=None)

    await db.supervisor.policies.remove(policy.id, by=None)

    assert await db.supervisor.roles.policies(role.id) == []


async def test_policies_of_one_name_defined_at_once_are_one(db: Database) -> None:
    calls = (db.supervisor.policies.define("talk", "chat", f"use-{number}", by=None) for number in range(8))

    defined = await asyncio.gather(*calls)

    assert len({policy.id for policy in defined}) == 1
    assert len(await _told(db, "policies", defined[0].id)) == 8


async def test_what_is_no_policy_or_none_any_more_is_refused(db: Database) -> None:
    policies = db.supervisor.policies
    one, _ = await policies.create("one", "a", "b", by=None), await policies.create("two", "a", "c", by=None)

    with pytest.raises(Conflict):
        await policies.create("one", "x", "y", by=None)
    with pytest.raises(Conflict):
        await policies.change(one.id, name="two", by=None)
    with pytest.raises(NotFound):
        await policies.change(10**9, name="three", by=None)
    for wrong in (("", "a", "b"), ("n", "", "b"), ("n", "a", 5)):
        with pytest.raises(BadInput):
            await policies.create(*wrong, by=None)
    with pytest.raises(BadInput):
        await policies.change(one.id, by=None)
    assert await _told(db, "policies", one.id) == [("create", None)]


async def test_a_role_is_moved_and_renamed_under_the_eyes_of_the_log(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)

    changed = await db.supervisor.roles.change(role.id, name="guest", display_order=7, by=None)

    assert (changed.name, changed.display_order) == ("guest", 7)
    entry = (await db.supervisor.audit.of_entity("roles", role.id)).items[0]
    assert (entry.action, entry.detail) == ("change", {"name": "guest", "display_order": 7, "before": "member"})
    with pytest.raises(BadInput):
        await db.supervisor.roles.change(role.id, by=None)
