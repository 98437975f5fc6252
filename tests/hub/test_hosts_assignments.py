"""Assignments: who may run where."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, MissingReference, NotFound
from agentdb.models import UserHost
from agentdb.repository import Repository
from agentdb.testing.factories import make_host, make_user


class Pairs(Repository[UserHost]):
    model = UserHost


async def test_of_many_who_assign_and_unassign_at_once_one_does(db: Database) -> None:
    user, host = await make_user(db), await make_host(db)

    assigned = await asyncio.gather(*(db.hub.hosts.assign(user.id, host.id) for _ in range(12)))
    there = [pair.user_id for pair in (await db.hub.hosts.assigned(host.id)).items]
    unassigned = await asyncio.gather(*(db.hub.hosts.unassign(user.id, host.id) for _ in range(12)))

    assert sorted(assigned) == sorted(unassigned) == [False] * 11 + [True]
    assert there == [user.id]
    assert await Pairs(db._over).count() == 0


async def test_nobody_is_assigned_to_a_supervisor_or_to_what_is_not_there(db: Database) -> None:
    user, host = await make_user(db), await make_host(db)
    supervisor = await db.hub.hosts.register(name="SUPERVISOR", host_type="supervisor")

    with pytest.raises(BadInput, match="supervisor"):
        await db.hub.hosts.assign(user.id, supervisor.id)
    with pytest.raises(MissingReference) as no_host:
        await db.hub.hosts.assign(user.id, 99)
    with pytest.raises(MissingReference) as no_user:
        await db.hub.hosts.assign(99, host.id)

    assert no_host.value.constraint == "fk_user_hosts__host_id"
    assert no_user.value.constraint == "fk_user_hosts__user_id"
    assert not await db.hub.hosts.unassign(99, 99)
    assert await Pairs(db._over).count() == 0


async def test_a_hosts_users_and_a_users_hosts_are_read_in_pages(db: Database) -> None:
    users = [await make_user(db, title=f"t{number}") for number in range(5)]
    hosts = [await make_host(db) for _ in range(5)]
    for number in range(5):
        await db.hub.hosts.assign(users[number].id, hosts[0].id)
        await db.hub.hosts.assign(users[0].id, hosts[number].id)

    first = await db.hub.hosts.assigned(hosts[0].id, limit=3)
    second = await db.hub.hosts.assigned(hosts[0].id, limit=3, after=first.next)
    one = await db.hub.hosts.hosts_of(users[0].id, limit=3)
    two = await db.hub.hosts.hosts_of(users[0].id, limit=3, after=one.next)

    assert [(who.user_id, who.username, who.title) for who in first.items + second.items] == [
        (user.id, user.username, user.title) for user in users
    ]
    assert [host.id for host in one.items + two.items] == [host.id for host in hosts]
    assert second.next is two.next is None
    with pytest.raises(BadInput, match="another list"):
        await db.hub.hosts.assigned(hosts[1].id, after=first.next)


async def test_a_user_runs_where_assigned_and_otherwise_wherever_it_is_not_restricted(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    await db.hub.hosts.register(name="SUPERVISOR", host_type="supervisor")
    for name in ("c", "a", "b"):
        await db.hub.hosts.create(name, restricted=name == "b")
    by_name = {host.name: host.id for host in (await db.hub.hosts.list()).items}
    await db.hub.hosts.assign(other.id, by_name["b"])

    async def eligible(user_id: int) -> list[str]:
        first = await db.hub.hosts.eligible(user_id, limit=1)
        rest = await db.hub.hosts.eligible(user_id, after=first.next) if first.next else None
        return [host.name for host in first.items + (rest.items if rest else [])]

    assert await eligible(user.id) == ["a", "c"]
    assert await eligible(other.id) == ["b"]
    await db.hub.hosts.assign(other.id, by_name["c"])
    assert await eligible(other.id) == ["b", "c"]
    await db.hub.hosts.restrict(by_name["a"])
    await db.hub.hosts.restrict(by_name["b"], restricted=False)
    assert await eligible(user.id) == ["b", "c"]
    await db.supervisor.users.disable(user.id)
    assert await eligible(user.id) == await eligible(99) == []


async def test_hosts_are_listed_with_how_many_are_assigned(db: Database) -> None:
    hosts = [await make_host(db, name=name, environment={"os": name}) for name in ("b", "c", "a")]
    for host, users in zip(hosts, (2, 0, 1), strict=True):
        for _ in range(users):
            await db.hub.hosts.assign((await make_user(db)).id, host.id)

    page = await db.hub.hosts.list(limit=2)
    rest = await db.hub.hosts.list(limit=2, after=page.next)

    listed = [(host.name, host.assigned_users, host.environment) for host in page.items + rest.items]
    assert listed == [("a", 1, {"os": "a"}), ("b", 2, {"os": "b"}), ("c", 0, {"os": "c"})]
    assert rest.next is None


async def test_a_host_is_renamed_and_restricted(db: Database) -> None:
    host, other = await make_host(db), await make_host(db)

    assert (await db.hub.hosts.rename(host.id, "new")).name == "new"
    assert (await db.hub.hosts.restrict(host.id)).restricted
    assert not (await db.hub.hosts.restrict(host.id, restricted=False)).restricted
    with pytest.raises(Conflict) as taken:
        await db.hub.hosts.rename(host.id, other.name)
    with pytest.raises(Conflict):
        await db.hub.hosts.create(other.name)
    for call in (db.hub.hosts.rename(99, "x"), db.hub.hosts.restrict(99)):
        with pytest.raises(NotFound):
            await call

    assert taken.value.constraint == "uq_hosts__name"
    assert (await db.hub.hosts.get(host.id)).machine_id == host.machine_id
