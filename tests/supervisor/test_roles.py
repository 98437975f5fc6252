"""Roles and their policies: changed whole, and told of in the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, NotFound
from agentdb.supervisor.models import Policy
from agentdb.testing.factories import make_user


async def _defined(db: Database, *pairs: tuple[str, str]) -> None:
    for resource, action in pairs:
        await db.supervisor.policies.define(f"{resource} {action}", resource, action, by=None)


def _pairs(policies: Sequence[Policy]) -> list[tuple[str, str]]:
    return [(policy.resource, policy.action) for policy in policies]


async def test_roles_are_listed_in_the_order_they_are_shown_in(db: Database) -> None:
    for name, place in (("admin", 2), ("user", 0), ("super user", 1), ("guest", 0)):
        await db.supervisor.roles.create(name, display_order=place, by=None)

    page = await db.supervisor.roles.list(limit=3)
    rest = await db.supervisor.roles.list(limit=3, after=page.next)

    assert [role.name for role in page.items + rest.items] == ["user", "guest", "super user", "admin"]


async def test_a_name_is_one_roles(db: Database) -> None:
    first = await db.supervisor.roles.create("admin", by=None)
    second = await db.supervisor.roles.create("user", by=None)

    with pytest.raises(Conflict):
        await db.supervisor.roles.create("admin", by=None)
    with pytest.raises(Conflict):
        await db.supervisor.roles.rename(second.id, "admin", by=None)

    assert (await db.supervisor.roles.by_name("admin")).id == first.id
    assert await db.supervisor.audit.count(entity="roles") == 2


async def test_a_renamed_role_keeps_its_users(db: Database) -> None:
    admin = await make_user(db)
    role = await db.supervisor.roles.create("user", by=admin.id)
    await db.supervisor.roles.assign(admin.id, "user", by=admin.id)

    renamed = await db.supervisor.roles.rename(role.id, "member", by=admin.id)

    assert (renamed.id, renamed.name) == (role.id, "member")
    assert (await db.supervisor.permissions.access_map(admin.id)).role == "member"
    entries = (await db.supervisor.audit.of_entity("roles", role.id)).items
    assert [(entry.action, entry.actor_name) for entry in entries] == [
        ("rename", admin.username),
        ("create", admin.username),
    ]
    assert entries[0].detail == {"name": "member", "before": "user"}


async def test_unknown_roles_are_not_found(db: Database) -> None:
    user = await make_user(db)
    await db.supervisor.roles.create("admin", by=None)

    with pytest.raises(NotFound):
        await db.supervisor.roles.by_name("nobody")
    with pytest.raises(NotFound):
        await db.supervisor.roles.rename(10**9, "admin", by=None)
    with pytest.raises(NotFound):
        await db.supervisor.roles.set_policies(10**9, [], by=None)
    with pytest.raises(NotFound, match="no role 'nobody'; there are admin"):
        await db.supervisor.roles.assign(user.id, "nobody", by=None)
    with pytest.raises(NotFound):
        await db.supervisor.roles.assign(10**9, "admin", by=None)


async def test_policies_are_replaced_whole(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)
    await _defined(db, ("chat", "use"), ("agents", "read"), ("agents", "write"))
    await db.supervisor.roles.set_policies(role.id, [("chat", "use"), ("agents", "read")], by=None)

    policies = await db.supervisor.roles.set_policies(role.id, [("agents", "write"), ("agents", "read")], by=None)

    assert _pairs(policies) == [("agents", "read"), ("agents", "write")]
    assert _pairs(await db.supervisor.roles.policies(role.id)) == _pairs(policies)
    entry = (await db.supervisor.audit.of_entity("roles", role.id)).items[0]
    assert entry.detail == {"added": [["agents", "write"]], "removed": [["chat", "use"]]}


async def test_every_unknown_policy_is_named_and_nothing_changes(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)
    await _defined(db, ("chat", "use"), ("agents", "read"))
    await db.supervisor.roles.set_policies(role.id, [("chat", "use")], by=None)

    with pytest.raises(NotFound, match=r"no policy mail:read, mail:write; define"):
        await db.supervisor.roles.set_policies(
            role.id, [("agents", "read"), ("mail", "write"), ("mail", "read")], by=None
        )

    assert _pairs(await db.supervisor.roles.policies(role.id)) == [("chat", "use")]


NO_PAIRS: list[object] = ["chat:use", ("chat",), ("", "use"), ("chat", None)]


async def test_a_policy_is_a_pair(db: Database, subtests: pytest.Subtests) -> None:
    role = await db.supervisor.roles.create("member", by=None)

    for wrong in NO_PAIRS:
        with subtests.test(wrong=wrong), pytest.raises(BadInput):
            await db.supervisor.roles.set_policies(role.id, [wrong], by=None)  # type: ignore[list-item]


async def test_a_policy_is_added_and_removed(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)
    await _defined(db, ("chat", "use"), ("agents", "read"))

    await db.supervisor.roles.add_policy(role.id, "chat", "use", by=None)
    both = await db.supervisor.roles.add_policy(role.id, "agents", "read", by=None)
    again = await db.supervisor.roles.add_policy(role.id, "agents", "read", by=None)
    one = await db.supervisor.roles.remove_policy(role.id, "chat", "use", by=None)
    same = await db.supervisor.roles.remove_policy(role.id, "chat", "use", by=None)

    assert _pairs(both) == _pairs(again) == [("agents", "read"), ("chat", "use")]
    assert _pairs(one) == _pairs(same) == [("agents", "read")]
    assert await db.supervisor.audit.count(action="set_policies") == 3


async def test_changes_at_once_are_all_kept(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)
    pairs = [("chat", f"step{number}") for number in range(8)]
    await _defined(db, *pairs)

    await asyncio.gather(*(db.supervisor.roles.add_policy(role.id, *pair, by=None) for pair in pairs))

    assert _pairs(await db.supervisor.roles.policies(role.id)) == pairs


async def test_replacements_at_once_leave_one_of_them_whole(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)
    sets = [[("chat", f"{number} a"), ("chat", f"{number} b")] for number in range(6)]
    await _defined(db, *(pair for pairs in sets for pair in pairs))

    await asyncio.gather(*(db.supervisor.roles.set_policies(role.id, pairs, by=None) for pairs in sets))

    assert _pairs(await db.supervisor.roles.policies(role.id)) in sets


async def test_a_user_has_one_role_or_none(db: Database) -> None:
    user = await make_user(db)
    admin = await db.supervisor.roles.create("admin", by=None)
    await db.supervisor.roles.create("member", by=None)

    await db.supervisor.roles.assign(user.id, "member", by=None)
    assigned = await db.supervisor.roles.assign(user.id, "admin", by=user.id)
    await db.supervisor.roles.assign(user.id, "admin", by=user.id)

    assert (assigned.role_id, assigned.version) == (admin.id, user.version + 2)
    assert await db.supervisor.audit.count(action="assign_role") == 2
    assert (await db.supervisor.roles.assign(user.id, None, by=None)).role_id is None


async def test_a_removed_role_leaves_its_users_without(db: Database) -> None:
    user = await make_user(db)
    role = await db.supervisor.roles.create("member", by=None)
    await _defined(db, ("chat", "use"))
    await db.supervisor.roles.set_policies(role.id, [("chat", "use")], by=None)
    await db.supervisor.roles.assign(user.id, "member", by=None)

    assert await db.supervisor.roles.remove(role.id, by=user.id)
    assert not await db.supervisor.roles.remove(role.id, by=user.id)

    assert not await db.supervisor.permissions.can(user.id, "use", "chat")
    assert (await db.supervisor.users.get(user.id)).role_id is None
    assert await db.supervisor.audit.count(action="remove", entity="roles") == 1


async def test_a_policy_that_is_defined_anew_changes_for_its_roles(db: Database) -> None:
    role = await db.supervisor.roles.create("member", by=None)
    first = await db.supervisor.policies.define("talk", "chat", "use", by=None)
    await db.supervisor.roles.set_policies(role.id, [("chat", "use")], by=None)

    again = await db.supervisor.policies.define("talk", "mail", "*", by=None)

    assert again.id == first.id
    assert _pairs(await db.supervisor.roles.policies(role.id)) == [("mail", "*")]
    assert [policy.name for policy in (await db.supervisor.policies.list()).items] == ["talk"]
