"""Permissions: given to users, or by their role; and an administrator who stays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import AgentDBError, BadInput, Conflict, InvalidTransition, MissingReference, NotFound
from agentdb.supervisor.access import ALLOWS, Access, Permission, allowing
from agentdb.supervisor.models import UserStatus
from agentdb.testing.factories import make_user

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


async def test_a_grant_tells_who_gave_it_and_when(db: Database) -> None:
    admin, user = await make_user(db), await make_user(db)

    with clock.hold(MONDAY):
        grant = await db.supervisor.permissions.grant(user.id, Permission.manage_hosts, by=admin.id)

    assert (grant.user_id, grant.permission, grant.granted_by) == (user.id, "manage_hosts", admin.id)
    assert grant.granted_at == MONDAY
    entry = (await db.supervisor.audit.of_actor(admin.id)).items[0]
    assert (entry.action, entry.entity, entry.entity_id) == ("grant", "users", str(user.id))
    assert entry.detail == {"permission": "manage_hosts"}


async def test_a_permission_is_given_once(db: Database) -> None:
    user = await make_user(db)
    await db.supervisor.permissions.grant(user.id, "manage_hosts", by=None)

    with pytest.raises(Conflict) as caught:
        await db.supervisor.permissions.grant(user.id, "manage_hosts", by=None)

    assert caught.value.constraint == "uq_user_permissions__user_id_permission"
    assert len(await db.supervisor.permissions.of_user(user.id)) == 1
    assert await db.supervisor.audit.count(action="grant") == 1


async def test_of_many_who_give_the_same_at_once_one_does(db: Database) -> None:
    user = await make_user(db)

    answers = await asyncio.gather(
        *(db.supervisor.permissions.grant(user.id, "manage_hosts", by=None) for _ in range(8)), return_exceptions=True
    )

    assert sum(not isinstance(answer, Conflict) for answer in answers) == 1
    assert await db.supervisor.audit.count(action="grant") == 1


async def test_an_unknown_permission_is_not_given(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for wrong in ("manage_everything", "", "hosts", ":read", "hosts:", "a b:read", "a:b:c"):
        with subtests.test(wrong=wrong), pytest.raises(BadInput, match="there are agent_communication, manage"):
            await db.supervisor.permissions.grant(user.id, wrong, by=None)


async def test_nobody_can_be_given_anything_but_users(db: Database) -> None:
    with pytest.raises(MissingReference):
        await db.supervisor.permissions.grant(10**9, "manage_hosts", by=None)

    assert await db.supervisor.audit.count(action="grant") == 0


async def test_a_grant_outlives_its_giver_and_goes_with_its_user(db: Database) -> None:
    admin, user = await make_user(db), await make_user(db)
    await db.supervisor.permissions.grant(user.id, "manage_hosts", by=admin.id)

    await db.supervisor.users.remove(admin.id)
    [grant] = await db.supervisor.permissions.of_user(user.id)
    assert grant.granted_by is None

    await db.supervisor.users.remove(user.id)
    assert await db.supervisor.permissions.of_user(user.id) == []


async def test_what_is_taken_is_taken_once(db: Database) -> None:
    user = await make_user(db)
    await db.supervisor.permissions.grant(user.id, "manage_hosts", by=None)

    assert await db.supervisor.permissions.revoke(user.id, "manage_hosts", by=user.id)
    assert not await db.supervisor.permissions.revoke(user.id, "manage_hosts", by=user.id)

    assert await db.supervisor.permissions.of_user(user.id) == []
    assert await db.supervisor.audit.count(action="revoke", actor_user_id=user.id) == 1


async def test_holders_are_listed_as_they_came(db: Database) -> None:
    users = [await make_user(db) for _ in range(5)]
    for user in users:
        await db.supervisor.permissions.grant(user.id, "manage_hosts", by=None)
        await db.supervisor.permissions.grant(user.id, "manage_models", by=None)

    first = await db.supervisor.permissions.holders("manage_hosts", limit=3)
    rest = await db.supervisor.permissions.holders("manage_hosts", limit=3, after=first.next)

    assert [holder.username for holder in first.items + rest.items] == [user.username for user in users]
    assert rest.next is None
    with pytest.raises(BadInput):
        await db.supervisor.permissions.holders("manage_models", after=first.next)


# What a user may do


def test_every_permission_has_the_name_of_the_source_and_allows_something() -> None:
    assert set(Permission) == set(ALLOWS)
    assert {str(permission) for permission in Permission} == {
        "supervisor_admin",
        "manage_agents",
        "remote_execution",
        "manage_hosts",
        "agent_communication",
        "manage_models",
        "manage_variables",
        "view_run_logs",
    }


ASKED = [
    ("supervisor_admin", "delete", "anything", True),
    ("manage_hosts", "delete", "hosts", True),
    ("manage_hosts", "read", "models", False),
    ("agent_communication", "send", "mail", True),
    ("remote_execution", "execute", "runs", True),
    ("remote_execution", "read", "runs", False),
    ("view_run_logs", "read", "logs", True),
    ("view_run_logs", "delete", "logs", False),
    ("reports:read", "read", "reports", True),
    ("reports:read", "write", "reports", False),
    ("reports:*", "write", "reports", True),
    ("*:read", "read", "anything", True),
    ("*:read", "write", "anything", False),
    ("*:*", "write", "anything", True),
]


async def test_a_permission_allows_what_its_name_says(db: Database, subtests: pytest.Subtests) -> None:
    for permission, action, resource, allowed in ASKED:
        with subtests.test(permission=permission, action=action, resource=resource):
            user = await make_user(db)
            await db.supervisor.permissions.grant(user.id, permission, by=None)

            assert await db.supervisor.permissions.can(user.id, action, resource) is allowed
            assert (await db.supervisor.permissions.access_map(user.id)).allows(action, resource) is allowed


POLICIES: list[tuple[str, str, bool]] = [
    ("chat", "use", True),
    ("chat", "*", True),
    ("*", "use", True),
    ("*", "*", True),
    ("chat", "read", False),
]


async def test_a_role_allows_what_its_policies_say(db: Database, subtests: pytest.Subtests) -> None:
    for resource, action, allowed in POLICIES:
        with subtests.test(resource=resource, action=action):
            user, name = await make_user(db), f"{action} of {resource}"
            role = await db.supervisor.roles.create(name, by=None)
            await db.supervisor.policies.define(name, resource, action, by=None)
            await db.supervisor.roles.set_policies(role.id, [(resource, action)], by=None)
            assert not await db.supervisor.permissions.can(user.id, "use", "chat")

            await db.supervisor.roles.assign(user.id, name, by=None)

            assert await db.supervisor.permissions.can(user.id, "use", "chat") is allowed
            assert (await db.supervisor.permissions.access_map(user.id)).allows("use", "chat") is allowed


async def test_who_is_not_active_may_do_nothing(db: Database, subtests: pytest.Subtests) -> None:
    for status in ("disabled", "archived"):
        with subtests.test(status=status):
            user = await make_user(db, status=status)
            await db.supervisor.permissions.grant(user.id, "supervisor_admin", by=None)

            assert not await db.supervisor.permissions.can(user.id, "read", "hosts")
            assert not (await db.supervisor.permissions.access_map(user.id)).allows("read", "hosts")


async def test_an_unknown_user_may_do_nothing(db: Database) -> None:
    assert not await db.supervisor.permissions.can(10**9, "read", "hosts")
    with pytest.raises(NotFound):
        await db.supervisor.permissions.access_map(10**9)


async def test_an_access_map_holds_role_permissions_and_policies(db: Database) -> None:
    user = await make_user(db)
    role = await db.supervisor.roles.create("member", by=None)
    for resource, action in (("chat", "use"), ("agents", "*")):
        await db.supervisor.policies.define(f"{resource} {action}", resource, action, by=None)
    await db.supervisor.roles.set_policies(role.id, [("chat", "use"), ("agents", "*")], by=None)
    await db.supervisor.roles.assign(user.id, "member", by=None)
    for permission in ("view_run_logs", "manage_hosts"):
        await db.supervisor.permissions.grant(user.id, permission, by=None)
    await db.supervisor.permissions.grant((await make_user(db)).id, "manage_models", by=None)

    access = await db.supervisor.permissions.access_map(user.id)

    assert access == Access(
        user_id=user.id,
        username=user.username,
        status=UserStatus.active,
        role="member",
        direct=("manage_hosts", "view_run_logs"),
        policies=(("agents", "*"), ("chat", "use")),
    )


@given(action=st.text(max_size=300), resource=st.text(max_size=300))
def test_an_administrator_is_always_among_those_who_may(action: str, resource: str) -> None:
    allowed = allowing(action, resource)

    assert "supervisor_admin" in allowed
    assert all(len(permission) <= 255 for permission in allowed)


# The last administrator


async def _administrators(db: Database, many: int) -> list[int]:
    users = [(await make_user(db)).id for _ in range(many)]
    for user_id in users:
        await db.supervisor.permissions.grant(user_id, "supervisor_admin", by=None)
    return users


async def test_the_last_administrator_stays_one(db: Database) -> None:
    (alice,) = await _administrators(db, 1)

    with pytest.raises(InvalidTransition, match=f"user {alice} is the last administrator"):
        await db.supervisor.permissions.revoke(alice, "supervisor_admin", by=None)

    assert await db.supervisor.permissions.can(alice, "read", "hosts")
    assert await db.supervisor.audit.count(action="revoke") == 0


async def test_an_administrator_who_is_not_active_does_not_count(db: Database) -> None:
    alice, bob = await _administrators(db, 2)
    await db.supervisor.users.disable(bob)

    with pytest.raises(InvalidTransition):
        await db.supervisor.permissions.revoke(alice, "supervisor_admin", by=None)
    assert await db.supervisor.permissions.revoke(bob, "supervisor_admin", by=alice)


async def test_whoever_is_no_administrator_can_lose_what_they_are_not(db: Database) -> None:
    await _administrators(db, 1)
    user = await make_user(db)

    assert not await db.supervisor.permissions.revoke(user.id, "supervisor_admin", by=None)


async def test_two_administrators_cannot_remove_each_other_at_once(db: Database, subtests: pytest.Subtests) -> None:
    for ways in (("revoke", "revoke"), ("revoke", "disable"), ("archive", "remove")):
        with subtests.test(ways=ways):
            for _ in range(5):
                alice, bob = await _administrators(db, 2)
                before = [
                    entry.user_id for entry in (await db.supervisor.permissions.holders("supervisor_admin")).items
                ]
                for other in set(before) - {alice, bob}:
                    await db.supervisor.permissions.revoke(other, "supervisor_admin", by=None)

                answers = await asyncio.gather(
                    _end(db, ways[0], bob, by=alice), _end(db, ways[1], alice, by=bob), return_exceptions=True
                )

                assert sum(isinstance(answer, InvalidTransition) for answer in answers) == 1
                assert sum(not isinstance(answer, AgentDBError) for answer in answers) == 1
                left = (await db.supervisor.permissions.holders("supervisor_admin")).items
                assert sum(holder.status is UserStatus.active for holder in left) == 1


async def _end(db: Database, way: str, user_id: int, *, by: int) -> None:
    if way == "revoke":
        await db.supervisor.permissions.revoke(user_id, "supervisor_admin", by=by)
    elif way == "disable":
        await db.supervisor.users.disable(user_id, by=by)
    elif way == "archive":
        await db.supervisor.users.archive(user_id, by=by)
    else:
        await db.supervisor.users.remove(user_id, by=by)
