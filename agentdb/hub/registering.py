"""How a machine gets its host: found, adopted, or made under a name of its own, whoever else registers meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Table, func, or_, select, update

from agentdb.engine.columns import of
from agentdb.engine.connection import Script, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import Conflict
from agentdb.hub.models.machines import Host, HostType

_hosts: Final[Table] = Host.__table__  # type: ignore[assignment]
_PROBES: Final = 16

# What a machine does not say of itself stays as it was known.
_SEEN: Final = {
    **{
        key: func.coalesce(of(_hosts.c[key], f"new_{key}"), _hosts.c[key])
        for key in ("last_ip", "last_version", "environment")
    },
    "last_active": of(_hosts.c.last_active, "new_last_active"),
    "updated_at": of(_hosts.c.updated_at, "new_last_active"),
}
_OF_TYPE: Final = _hosts.c.host_type == of(_hosts.c.host_type, "kind")
_NAMED: Final = _hosts.c.name == of(_hosts.c.name, "named")

_IS_SUPERVISOR: Final = _hosts.c.host_type == HostType.supervisor

_KNOWN: Final = Plan[Host](
    update(_hosts)
    .where(_hosts.c.machine_id == of(_hosts.c.machine_id, "machine"), _OF_TYPE)
    .values(**_SEEN)
    .returning(_hosts),
    name="hosts.register: known",
    rows=Host,
)
_ADOPT: Final = Plan[Host](
    update(_hosts)
    .where(_NAMED, _hosts.c.machine_id.is_(None), _OF_TYPE)
    .values(machine_id=of(_hosts.c.machine_id, "machine"), **_SEEN)
    .returning(_hosts),
    name="hosts.register: adopt",
    rows=Host,
)
# Locked: whoever wants the same name comes one after another, and none guesses a number that another takes.
_IN_THE_WAY: Final = Plan[Host](
    select(Host)
    .where(or_(_NAMED, _hosts.c.machine_id == of(_hosts.c.machine_id, "machine")))
    .order_by(_hosts.c.id)
    .with_for_update(key_share=True),
    name="hosts.register: in the way",
    rows=Host,
)
_SUPERVISOR: Final = Plan[Host](
    update(_hosts).where(_NAMED, _IS_SUPERVISOR).values(**_SEEN).returning(_hosts),
    name="hosts.register: supervisor",
    rows=Host,
)
_RUNNER: Final = Plan[int](select(_hosts.c.id).where(_NAMED, ~_IS_SUPERVISOR), name="hosts.register: runner")
_TAKEN: Final = Plan[str](select(_hosts.c.name).where(among(_hosts.c.name, "names")), name="hosts.register: taken")


def register(name: str, machine: str, kind: HostType, seen: Mapping[str, Any]) -> Script[Host]:
    """Find a machine's host, adopt one, or make one.

    Args:
        name: what the machine is called.
        machine: its id.
        kind: its type.
        seen: what it says of itself, by column; None: nothing.
    """
    new = {"kind": kind, "machine": machine, **{f"new_{key}": value for key, value in seen.items()}}
    add = insert_unless_there(Host, ())
    values = {"machine_id": machine, "host_type": kind, **seen, "environment": seen["environment"] or {}}
    # Others register at this very moment: whatever they take first, the next round finds it.
    while True:
        host = yield from one(_KNOWN, **new)
        if host is None:
            host = yield from one(_ADOPT, named=name, **new)
        if host is None:
            host = yield from one(add, name=name, **values)
        if host is None:
            there = yield from every(_IN_THE_WAY, named=name, machine=machine)
            for other in there:
                if other.machine_id == machine and other.host_type is not kind:
                    raise Conflict(
                        f"machine {machine!r} is {other.host_type} {other.name!r}; register a {kind} with another id",
                        constraint="uq_hosts__machine_id",
                    )
            if [other.name for other in there if other.machine_id != machine] == [name]:
                free = yield from _free_name(name)
                host = yield from one(add, name=free, **values)
        if host is not None:
            return host


def supervise(name: str, seen: Mapping[str, Any]) -> Script[Host]:
    """Find the supervisor of a name, or make it."""
    new = {f"new_{key}": value for key, value in seen.items()}
    while True:
        host = yield from one(_SUPERVISOR, named=name, **new)
        if host is None:
            values = {**seen, "environment": seen["environment"] or {}, "host_type": HostType.supervisor}
            host = yield from one(insert_unless_there(Host, ("name",)), name=name, **values)
        if host is not None:
            return host
        if (yield from one(_RUNNER, named=name)) is not None:
            raise Conflict(f"host {name!r} is a runner; give the supervisor another name", constraint="uq_hosts__name")


def _free_name(name: str) -> Script[str]:
    """Return ``name-2``, ``name-3``, ...: one that is free and follows one that is taken.

    Not one after another: 16 are asked for at a time, first the powers of two, then those between the last that is
    taken and the first that is free.
    """
    taken, free = 1, 0
    while free != taken + 1:
        tried = [taken << power for power in range(1, _PROBES + 1)]
        if free:
            tried = sorted({taken + (free - taken) * step // (_PROBES + 1) for step in range(1, _PROBES + 1)} - {taken})
        names = [_numbered(name, number) for number in tried]
        there = set((yield from every(_TAKEN, names=names)))
        for number, candidate in zip(tried, names, strict=True):
            if candidate not in there:
                free = number
                break
            taken = number
    return _numbered(name, free)


def _numbered(name: str, number: int) -> str:
    return f"{name[: 63 - len(str(number))]}-{number}"
