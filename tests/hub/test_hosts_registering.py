"""Registering: one host for each machine, and a name for each, whoever comes at the same moment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import agentdb
from agentdb.database import Database
from agentdb.engine.connection import Step
from agentdb.errors import BadInput, Conflict
from agentdb.hub import registering
from agentdb.models import Host, HostType

_PROCESS = """
import asyncio, sys, agentdb
async def main(url, name, machine):
    async with agentdb.connect(url) as db:
        hosts = await asyncio.gather(*(db.hub.hosts.register(name=name, machine_id=machine) for _ in range(5)))
        print(*{host.id for host in hosts})
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.long
async def test_six_processes_of_five_tasks_register_one_machine_as_one_host(database_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    async with agentdb.connect(database_url) as db:
        processes = [
            subprocess.Popen(  # noqa: ASYNC220 (they are waited for below, and nothing else runs)
                [sys.executable, "-c", _PROCESS, database_url, f"box-{number % 3}", "m1"],
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for number in range(6)
        ]
        told = {process.communicate(timeout=60)[0].strip() for process in processes}

        assert [process.returncode for process in processes] == [0] * 6
        assert told == {str((await db.hub.hosts.page()).items[0].id)}
        assert await db.hub.hosts.count() == 1


async def test_fifty_machines_of_one_name_have_fifty_names_without_gaps(db: Database) -> None:
    hosts = await asyncio.gather(*(db.hub.hosts.register(name="box", machine_id=f"m{n}") for n in range(50)))

    assert {host.name for host in hosts} == {"box"} | {f"box-{number}" for number in range(2, 51)}
    assert {host.machine_id for host in hosts} == {f"m{number}" for number in range(50)}


@pytest.mark.parametrize("taken", [1, 2, 15, 16, 17, 300, 70_000])
def test_a_free_number_is_found_by_few_questions(taken: int) -> None:
    names = {"box"} | {f"box-{number}" for number in range(2, taken + 1)}
    search = registering._free_name("box")
    questions: list[Step] = []

    def answered() -> str:
        """Answer the search from the names alone."""
        step = next(search)
        while True:
            questions.append(step)
            try:
                step = search.send([name for name in step.parameters["names"] if name in names])
            except StopIteration as found:
                return str(found.value)

    assert answered() == f"box-{taken + 1}"
    assert len(questions) <= 2 + taken.bit_length() // 3


async def test_a_name_that_others_have_taken_with_gaps_is_still_given_once(db: Database) -> None:
    await db.hub.hosts.add_many([{"name": name, "machine_id": name} for name in ("box", "box-2", "box-4", "box-8")])

    hosts = await asyncio.gather(*(db.hub.hosts.register(name="box", machine_id=f"m{n}") for n in range(8)))

    assert len({host.name for host in hosts} | {"box", "box-2", "box-4", "box-8"}) == 12


async def test_a_renamed_machine_keeps_its_name_and_its_old_name_is_free(db: Database) -> None:
    host = await db.hub.hosts.register(name="h1", machine_id="m")
    await db.hub.hosts.rename(host.id, "h2")

    again = await db.hub.hosts.register(name="h1", machine_id="m")
    other = await db.hub.hosts.register(name="h2", machine_id="n")
    third = await db.hub.hosts.register(name="h1", machine_id="o")

    assert (again.id, again.name) == (host.id, "h2")
    assert (other.name, third.name) == ("h2-2", "h1")


async def test_a_host_that_was_created_is_adopted_by_one_of_many_machines(db: Database) -> None:
    created = await db.hub.hosts.create("box", restricted=True)

    hosts = await asyncio.gather(*(db.hub.hosts.register(name="box", machine_id=f"m{n}") for n in range(8)))

    adopted = [host for host in hosts if host.id == created.id]
    assert [(host.name, host.restricted) for host in adopted] == [("box", True)]
    assert len({host.id for host in hosts}) == 8


async def test_what_a_machine_does_not_say_stays_as_it_was_known(db: Database) -> None:
    await db.hub.hosts.register(name="box", machine_id="m", ip="10.0.0.1", version="1", environment={"os": "linux"})

    again = await db.hub.hosts.register(name="box", machine_id="m", version="2")

    assert (again.last_ip, again.last_version, again.environment) == ("10.0.0.1", "2", {"os": "linux"})


async def test_a_supervisor_is_known_by_its_name(db: Database) -> None:
    hosts: list[Host] = await asyncio.gather(
        *(db.hub.hosts.register(name="SUPERVISOR", host_type="supervisor", version=str(n)) for n in range(10))
    )

    assert len({host.id for host in hosts}) == 1
    assert {(host.name, host.machine_id, host.host_type) for host in hosts} == {
        ("SUPERVISOR", None, HostType.supervisor)
    }


async def test_a_supervisor_and_a_runner_of_one_name_stay_what_they_are(db: Database) -> None:
    runner = await db.hub.hosts.register(name="box", machine_id="m")
    supervisor = await db.hub.hosts.register(name="SUPERVISOR", host_type="supervisor")

    with pytest.raises(Conflict, match="is a runner"):
        await db.hub.hosts.register(name="box", host_type="supervisor")
    second = await db.hub.hosts.register(name="SUPERVISOR", machine_id="n")

    assert second.name == "SUPERVISOR-2"
    assert (await db.hub.hosts.get(runner.id)).host_type is HostType.runner
    assert (await db.hub.hosts.get(supervisor.id)).machine_id is None


async def test_a_machine_is_of_one_type(db: Database) -> None:
    await db.hub.hosts.register(name="box", machine_id="m")

    with pytest.raises(Conflict, match="register a supervisor with another id"):
        await db.hub.hosts.register(name="boss", machine_id="m", host_type="supervisor")
    with pytest.raises(BadInput, match="one of runner, supervisor"):
        await db.hub.hosts.register(name="boss", host_type="printer")

    assert await db.hub.hosts.count() == 1


NO_NAMES: list[Any] = ["", "a b", "é", "x" * 65, "a\n", 7, None]


async def test_whichever_way_a_host_is_named_the_name_is_checked(db: Database, subtests: pytest.Subtests) -> None:
    host, hosts = await db.hub.hosts.create("box"), db.hub.hosts
    ways: dict[str, Callable[[Any], Awaitable[object]]] = {
        "create": hosts.create,
        "rename": lambda name: hosts.rename(host.id, name),
        "add": lambda name: hosts.add(name=name),
        "update": lambda name: hosts.update(host.id, name=name),
    }

    for name in NO_NAMES:
        for way, call in ways.items():
            with subtests.test(way=way, name=name), pytest.raises(BadInput):
                await call(name)

    assert [listed.name for listed in (await db.hub.hosts.list()).items] == ["box"]
