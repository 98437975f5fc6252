"""Hosts, and who is assigned to them: a host is known by its machine, or else by its name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, select

from agentdb.criteria import table_of
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput
from agentdb.hub.models.machines import Host, HostType, UserHost
from agentdb.importing.chat import username
from agentdb.importing.naisys.marks import turn
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import flag, mapping, maybe, moment, name, text, word
from agentdb.importing.naisys.work import Importing

_hosts: Final[Table] = table_of(Host)
_BY_MACHINE: Final = Plan[int](
    select(_hosts.c.id).where(_hosts.c.machine_id == of(_hosts.c.machine_id)), name="import: host by machine"
)
_BY_NAME: Final = Plan[Host](select(Host).where(Host.name == of(_hosts.c.name)), name="import: host", rows=Host)


async def import_hosts(work: Importing) -> None:
    """Bring the hosts, in one transaction, and the assignments."""
    rows = await work.hub.all("hosts")

    def convert(row: Row) -> tuple[int, dict[str, Any]]:
        try:
            environment = mapping(row["environment"])
        except BadInput:
            work.report.tell("hosts", row["name"], "has an empty environment here: it is no JSON object")
            environment = {}
        return row["id"], {
            "name": username(text(row["name"])),
            "machine_id": maybe(name, row["machine_id"]),
            "restricted": flag(row["restricted"]),
            "host_type": word(HostType, row["host_type"], {"naisys": HostType.runner}),
            "last_ip": maybe(text, row["last_ip"]),
            "last_version": maybe(text, row["last_version"]),
            "environment": environment,
            "last_active": maybe(moment, row["last_active"]),
            "created_at": moment(row["created_at"]),
        }

    hosts = work.carried("hosts", rows, convert)
    stored, new = await work.write(partial(_store, hosts))
    work.hosts.update(stored)
    work.report.stored("hosts", len(new), len(hosts) - len(new))
    names = {row["id"]: text(row["name"]) for row in rows}
    for source_id, given in new.items():
        if given != names[source_id]:
            work.report.tell("hosts", names[source_id], f"is {given} here: the name is another machine's")
    pairs = [
        {"user_id": work.users[row["user_id"]], "host_id": work.hosts[row["host_id"]], **_made(row)}
        for row in await work.hub.all("user_hosts", 2)
        if row["user_id"] in work.users and row["host_id"] in work.hosts
    ]
    await work.add_unless_there("user_hosts", UserHost, ("user_id", "host_id"), pairs)
    work.progress("hosts", len(rows), len(rows))


def _made(row: Row) -> dict[str, Any]:
    return {"created_at": moment(row["created_at"])}


def _store(hosts: Sequence[tuple[int, dict[str, Any]]]) -> Script[tuple[dict[int, int], dict[int, str]]]:
    ids: dict[int, int] = {}
    new: dict[int, str] = {}
    yield from turn()
    for source_id, values in hosts:
        present = yield from _present(values)
        if present is None:
            given = yield from _free(values["name"])
            host = yield from one(insert_one(Host), **{**values, "name": given})
            if host is None:
                raise BadInput(f"the host {given} was not stored; a trigger took it away")
            present = host.id
            new[source_id] = given
        ids[source_id] = present
    return ids, new


def _present(values: dict[str, Any]) -> Script[int | None]:
    machine = values["machine_id"]
    if machine is not None:
        found = yield from one(_BY_MACHINE, machine_id=machine)
        if found is not None:
            return found
    host = yield from one(_BY_NAME, name=values["name"])
    # A name alone is enough only where one of the two does not say which machine it is.
    if host is not None and (machine is None or host.machine_id is None):
        return host.id
    return None


def _free(wanted: str) -> Script[str]:
    given, times = wanted, 1
    while (yield from one(_BY_NAME, name=given)) is not None:
        times += 1
        ending = f"-{times}"
        given = wanted[: 64 - len(ending)] + ending
    return given
