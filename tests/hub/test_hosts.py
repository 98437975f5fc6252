"""Hosts: one for each machine, whoever registers when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, NotFound


async def test_a_new_machine_gets_a_host_of_its_name(db: Database) -> None:
    host = await db.hub.hosts.register(name="box", machine_id="m1", ip="10.0.0.1", environment={"os": "linux"})

    assert (host.name, host.machine_id, host.last_ip, host.environment) == ("box", "m1", "10.0.0.1", {"os": "linux"})
    assert host.last_active is not None
    assert (await db.hub.hosts.by_name("box")).id == host.id


async def test_a_known_machine_keeps_its_host_whatever_it_is_called(db: Database) -> None:
    host = await db.hub.hosts.register(name="box", machine_id="m1")
    await db.hub.hosts.update(host.id, name="renamed")

    again = await db.hub.hosts.register(name="other", machine_id="m1", version="2")

    assert (again.id, again.name, again.last_version) == (host.id, "renamed", "2")


async def test_a_host_nobody_has_claimed_is_adopted(db: Database) -> None:
    host = await db.hub.hosts.add(name="box")

    first = await db.hub.hosts.register(name="box", machine_id="m1")
    second = await db.hub.hosts.register(name="box", machine_id="m2")

    assert first.id == host.id
    assert second.name == "box-2"


async def test_a_host_of_another_type_is_not_adopted(db: Database) -> None:
    await db.hub.hosts.add(name="box", host_type="supervisor")

    assert (await db.hub.hosts.register(name="box", machine_id="m1")).name == "box-2"


async def test_a_taken_name_gets_a_number_and_stays_within_64_characters(db: Database) -> None:
    long = "x" * 64
    names = [(await db.hub.hosts.register(name=long, machine_id=f"m{number}")).name for number in range(3)]

    assert names == [long, "x" * 62 + "-2", "x" * 62 + "-3"]


async def test_one_machine_registered_by_many_tasks_is_one_host(db: Database) -> None:
    hosts = await asyncio.gather(*(db.hub.hosts.register(name=f"box-{n % 4}", machine_id="m1") for n in range(20)))

    assert len({host.id for host in hosts}) == 1
    assert await db.hub.hosts.count() == 1


async def test_many_machines_of_one_name_get_a_host_each(db: Database) -> None:
    hosts = await asyncio.gather(*(db.hub.hosts.register(name="box", machine_id=f"m{n}") for n in range(20)))

    assert len({host.id for host in hosts}) == 20
    assert {host.name for host in hosts} == {"box"} | {f"box-{number}" for number in range(2, 21)}
    assert {host.machine_id for host in hosts} == {f"m{number}" for number in range(20)}


NO_NAMES: list[Any] = ["", "a b", "é", "x" * 65, "a\n", 7, None]


async def test_a_name_of_other_characters_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for name in NO_NAMES:
        with subtests.test(name=name), pytest.raises(BadInput):
            await db.hub.hosts.register(name=name)


async def test_an_unknown_name_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound):
        await db.hub.hosts.by_name("nobody")


async def test_hosts_are_listed_by_name(db: Database) -> None:
    for name in ("b", "c", "a"):
        await db.hub.hosts.register(name=name)

    page = await db.hub.hosts.list(limit=2)
    rest = await db.hub.hosts.list(limit=2, after=page.next)

    assert [host.name for host in page.items + rest.items] == ["a", "b", "c"]
    assert rest.next is None
