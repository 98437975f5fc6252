"""Hosts: machines that register under a name of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput, NotFound
from agentdb.hub.models.machines import Host, HostType
from agentdb.page import Page
from agentdb.repository import Repository
from agentdb.types import uuid7

_hosts: Final[Table] = Host.__table__  # type: ignore[assignment]
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch

_SEEN: Final = {
    column: of(_hosts.c[column], f"new_{column}")
    for column in ("host_type", "last_ip", "last_version", "environment", "last_active")
}
_NOW: Final = {**_SEEN, "updated_at": of(_hosts.c.updated_at, "new_last_active")}

_KNOWN: Final = Plan[Host](
    update(_hosts).where(_hosts.c.machine_id == bindparam("machine")).values(**_NOW).returning(_hosts),
    name="hosts.register: known",
    rows=Host,
)
_ADOPT: Final = Plan[Host](
    update(_hosts)
    .where(
        _hosts.c.name == bindparam("named"),
        _hosts.c.machine_id.is_(None),
        _hosts.c.host_type == of(_hosts.c.host_type, "kind"),
    )
    .values(machine_id=of(_hosts.c.machine_id, "machine"), **_NOW)
    .returning(_hosts),
    name="hosts.register: adopt",
    rows=Host,
)
_BY_NAME: Final = Plan[Host](
    select(Host).where(Host.name == bindparam("name")), name="hosts.by_name", rows=Host, point=True
)


class Hosts(Repository[Host]):
    """The machines of an installation. A host is known by its machine id; its name may change."""

    model = Host

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
        another machine's.

        Args: name: 1 to 64 of letters, digits, ``_`` and ``-``; machine_id: of the machine's own; made when absent.
        Raises: BadInput for a name with other characters.
        Cost: one transaction of one to three statements, and one for each name that is taken.
        """
        if not _NAME(name):
            raise BadInput(f"a host's name has 1 to 64 letters, digits, '_' and '-', not {name!r}")
        machine = machine_id or str(uuid7())
        seen = {
            "new_host_type": host_type,
            "new_last_ip": ip,
            "new_last_version": version,
            "new_environment": dict(environment or {}),
            "new_last_active": self.connection.now(),
        }
        return await self.connection.run(lambda: _register(name, machine, seen))

    async def by_name(self, name: str) -> Host:
        """Return the host of this name.

        Raises: NotFound.
        """
        host = await self.connection.fetch_one(_BY_NAME, {"name": name})
        if host is None:
            raise NotFound(f"there is no host {name!r}")
        return host

    async def list(self, *, limit: int = 50, after: str | None = None) -> Page[Host]:
        """Return hosts by name."""
        return await self.page(by="name", limit=limit, after=after)


def _register(name: str, machine: str, seen: Mapping[str, Any]) -> Script[Host]:
    host = yield from one(_KNOWN, machine=machine, **seen)
    if host is None:
        host = yield from one(_ADOPT, named=name, machine=machine, kind=seen["new_host_type"], **seen)
    values = {key.removeprefix("new_"): value for key, value in seen.items()}
    number = 1
    while host is None:
        candidate = name if number == 1 else f"{name[: 63 - len(str(number))]}-{number}"
        # Another registration may take the name, or this machine's id, at this very moment: then nothing is inserted.
        host = yield from one(insert_unless_there(Host, ()), name=candidate, machine_id=machine, **values)
        if host is None:
            host = yield from one(_KNOWN, machine=machine, **seen)
        number += 1
    return host
