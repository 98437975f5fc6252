"""Hosts: machines that register under a name of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, Table, bindparam, func, select, update

from agentdb.criteria import beyond, delete_plan
from agentdb.engine.asked import is_text, members
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, NotFound, brief
from agentdb.hub.assignments import Assignments
from agentdb.hub.models.machines import Host, HostType, RunSession, UserHost
from agentdb.hub.registering import register, supervise
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of
from agentdb.types import uuid7

_hosts: Final[Table] = Host.__table__  # type: ignore[assignment]
_sessions: Final[Table] = RunSession.__table__  # type: ignore[assignment]
_pairs: Final[Table] = UserHost.__table__  # type: ignore[assignment]
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class ListedHost:
    """A host, and how many users are assigned to it."""

    id: int
    name: str
    machine_id: str | None
    restricted: bool
    host_type: HostType
    last_ip: str | None
    last_version: str | None
    environment: Any  # an object
    last_active: datetime | None
    assigned_users: int


_BY_NAME: Final = Plan[Host](
    select(Host).where(Host.name == bindparam("name")), name="hosts.by_name", rows=Host, point=True
)
_CHANGE: Final = {
    key: Plan[Host](
        update(_hosts)
        .where(_hosts.c.id == of(_hosts.c.id, "host_id"))
        .values(**{key: of(_hosts.c[key], f"new_{key}"), "updated_at": of(_hosts.c.updated_at, "now")})
        .returning(_hosts),
        name=f"hosts.change: {key}",
        rows=Host,
    )
    for key in ("name", "restricted")
}
_SESSIONS: Final = Plan[int](
    select(_sessions.c.id)
    .where(_sessions.c.host_id == of(_sessions.c.host_id))
    .order_by(_sessions.c.id)
    .with_for_update(key_share=True),
    name="hosts.remove: sessions",
)


@cache
def list_plan(*, after: bool) -> Plan[ListedHost]:
    """Return the plan of the list; after: whether it goes on behind a cursor."""
    users = select(func.count()).where(_pairs.c.host_id == _hosts.c.id).correlate(_hosts).scalar_subquery()
    columns = [_hosts.c[key] for key in ListedHost.__dataclass_fields__ if key != "assigned_users"]
    statement: Select[Any] = select(*columns, users)
    if after:
        statement = statement.where(beyond([_hosts.c.name], newest_first=False))
    return Plan(statement.order_by(_hosts.c.name).limit(bindparam("limit")), name="hosts.list", rows=ListedHost)


class Hosts(Assignments):
    """The machines of an installation. A runner is known by its machine id, and its name may change.

    A supervisor may have a machine id too; without one it is known by its name.
    """

    async def register(
        self,
        *,
        name: str,
        machine_id: str | None = None,
        host_type: HostType | str = HostType.runner,
        ip: str | None = None,
        version: str | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Host:
        """Register a machine, and return its host.

        A known machine id finds its host, whatever it is called now. Otherwise a host of this name and type that no
        machine has claimed yet is adopted; otherwise a new one is made, as ``name-2``, ``name-3``, ... when the name is
        another machine's. A supervisor without a machine id finds the supervisor of its name, or is made.

        Args:
            name: 1 to 64 of letters, digits, ``_`` and ``-``.
            machine_id: the machine's own; one is made for a runner that has none, to be shown the next time.
            host_type: what the machine does.
            ip: where it was last seen; what is absent stays as it was known.
            version: of its software.
            environment: what else it says of itself; replaces what it said before.

        Raises: BadInput for a name with other characters; Conflict when the machine id, or the name of a supervisor
            without one, is a host's of the other type.
        Cost: one transaction: of one statement for a known machine, of three for a new one; where the name is taken,
            five more, and one more for each factor of 16 in how many have that name.
        """
        _check(name)
        kind = HostType(host_type) if host_type in tuple(HostType) else None
        if kind is None:
            raise BadInput(f"a host's type is one of {', '.join(HostType)}, not {brief(host_type)}")
        if machine_id is not None and not is_text(machine_id):
            raise BadInput(f"a machine's id is text, not {type(machine_id).__name__}")
        seen = {
            "last_ip": ip,
            "last_version": version,
            "environment": None if environment is None else members(environment, "environment"),
            "last_active": self.connection.now(),
        }
        if machine_id is None and kind is HostType.supervisor:
            return await self.connection.run(lambda: supervise(name, seen))
        machine = machine_id or str(uuid7())
        return await self.connection.run(lambda: register(name, machine, kind, seen))

    async def create(self, name: str, *, restricted: bool = False) -> Host:
        """Create the host of a runner that is still to come: the first machine to register under its name adopts it.

        Raises: BadInput for a name with other characters; Conflict when the name is taken.
        Cost: one insert.
        """
        _check(name)
        return await self.add(name=name, restricted=restricted)

    async def rename(self, host_id: int, name: str) -> Host:
        """Give a host another name, and return it: its machine keeps it, and is told the name when it registers.

        Raises: NotFound; BadInput for a name with other characters; Conflict when the name is taken.
        Cost: one statement.
        """
        _check(name)
        return await self._change(host_id, "name", name)

    async def restrict(self, host_id: int, restricted: bool = True) -> Host:
        """Say whether only users assigned to a host may run there, and return it.

        Raises: NotFound.
        Cost: one statement.
        """
        return await self._change(host_id, "restricted", restricted)

    async def _change(self, host_id: int, key: str, value: Any) -> Host:
        values = {"host_id": host_id, f"new_{key}": value, "now": self.connection.now()}
        host = await self.connection.fetch_one(_CHANGE[key], values)
        if host is None:
            raise NotFound(f"there is no host {host_id}")
        return host

    async def by_name(self, name: str) -> Host:
        """Return the host of this name.

        Raises: NotFound.
        """
        host = await self.connection.fetch_one(_BY_NAME, {"name": name})
        if host is None:
            raise NotFound(f"there is no host {name!r}")
        return host

    async def list(self, *, limit: int = 50, after: str | None = None) -> Page[ListedHost]:
        """Return hosts by name, each with the number of users assigned to it.

        Cost: one read by uq_hosts__name, and one of the index of assignments for each host.
        """
        limit = capped(limit, self.most)
        values: dict[str, Any] = {"limit": limit + 1}
        if after is not None:
            values["after_0"] = values_of("hosts.list", after, [_hosts.c.name])[0]
        rows: list[Any] = await self.connection.fetch_all(list_plan(after=after is not None), values)
        return page_of(rows, limit, "hosts.list", ["name"])

    async def remove(self, *key: Any) -> bool:
        """Remove a host and its assignments, and tell whether it was there.

        What ran, was said, was spent and was sent there stays, and names no host.

        Cost: one transaction; it rewrites every row that names the host.
        """
        return await self.connection.run(lambda: _remove(self._key(key)["id"]))


def _check(name: str) -> None:
    if not is_text(name) or not _NAME(name):
        raise BadInput(f"a host's name has 1 to 64 letters, digits, '_' and '-', not {brief(name)}")


def _remove(host_id: int) -> Script[bool]:
    # First what log entries and heartbeats lock first, in their order.
    yield from every(_SESSIONS, host_id=host_id)
    return (yield from count(delete_plan(Host), id=host_id)) > 0
