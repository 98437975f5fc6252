"""Which users may run on which hosts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Select, Table, and_, bindparam, exists, or_, select

from agentdb.criteria import beyond, delete_plan
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput, MissingReference
from agentdb.hub.models.machines import Host, HostType, UserHost
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of
from agentdb.supervisor.models import User, UserStatus

_hosts: Final[Table] = Host.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]
_pairs: Final[Table] = UserHost.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class AssignedUser:
    """A user who is assigned to a host."""

    user_id: int
    username: str
    title: str
    status: UserStatus
    assigned_at: datetime


# Locked as a reference locks it: the host stays, and stays what it is, until the assignment is stored.
_HOST: Final = Plan[HostType](
    select(_hosts.c.host_type).where(_hosts.c.id == of(_hosts.c.id, "host_id")).with_for_update(read=True),
    name="hosts.assign: host",
)


def _assigned_plan(*, after: bool) -> Plan[AssignedUser]:
    statement: Select[Any] = (
        select(_users.c.id, _users.c.username, _users.c.title, _users.c.status, _pairs.c.created_at)
        .join_from(_pairs, _users, _users.c.id == _pairs.c.user_id)
        .where(_pairs.c.host_id == of(_pairs.c.host_id))
    )
    return Plan(_paged(statement, _pairs.c.user_id, after=after), name="hosts.assigned", rows=AssignedUser)


def _hosts_of_plan(*, after: bool) -> Plan[Host]:
    statement = (
        select(Host)
        .join_from(_hosts, _pairs, _hosts.c.id == _pairs.c.host_id)
        .where(_pairs.c.user_id == of(_pairs.c.user_id))
    )
    return Plan(_paged(statement, _pairs.c.host_id, after=after), name="hosts.hosts_of", rows=Host)


def _eligible_plan(*, after: bool) -> Plan[Host]:
    """Return the hosts a user may run on: chosen in one statement, so by one state of the assignments."""
    user_id = bindparam("user_id", type_=_pairs.c.user_id.type)
    acts = exists().where(_users.c.id == user_id, _users.c.status == UserStatus.active)
    here = exists().where(_pairs.c.user_id == user_id, _pairs.c.host_id == _hosts.c.id)
    anywhere = exists().where(_pairs.c.user_id == user_id)
    statement = select(Host).where(
        _hosts.c.host_type == HostType.runner, acts, or_(here, and_(~_hosts.c.restricted, ~anywhere))
    )
    return Plan(_paged(statement, _hosts.c.name, after=after), name="hosts.eligible", rows=Host)


def _paged(statement: Select[Any], by: Column[Any], *, after: bool) -> Select[Any]:
    if after:
        statement = statement.where(beyond([by], newest_first=False))
    return statement.order_by(by).limit(bindparam("limit"))


_ASSIGNED: Final = {after: _assigned_plan(after=after) for after in (False, True)}
_HOSTS_OF: Final = {after: _hosts_of_plan(after=after) for after in (False, True)}
_ELIGIBLE: Final = {after: _eligible_plan(after=after) for after in (False, True)}


class Assignments(Repository[Host]):
    """What `Hosts` says of its users.

    A user who is assigned to hosts runs on those and nowhere else; anyone else runs on every host that is not
    restricted. Nobody is assigned to a supervisor.
    """

    model = Host

    async def assign(self, user_id: int, host_id: int) -> bool:
        """Assign a user to a host, and tell whether that is new: of many such calls at once, one says so.

        Raises: MissingReference for an unknown user or host; BadInput for a supervisor.
        Cost: one transaction of two statements.
        """
        return await self.connection.run(lambda: _assign(user_id, host_id))

    async def unassign(self, user_id: int, host_id: int) -> bool:
        """Take an assignment back, and tell whether there was one: of many such calls at once, one says so."""
        return await self.connection.execute(delete_plan(UserHost), {"user_id": user_id, "host_id": host_id}) > 0

    async def assigned(self, host_id: int, *, limit: int = 50, after: str | None = None) -> Page[AssignedUser]:
        """Return the users assigned to a host, by id.

        Cost: one read by ix_user_hosts__host_id_user_id, and one of each user.
        """
        return await self._of(_ASSIGNED, "user_id", _pairs.c.user_id, {"host_id": host_id}, limit, after)

    async def hosts_of(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[Host]:
        """Return the hosts a user is assigned to, by id.

        Cost: one read by the key of user_hosts, and one of each host.
        """
        return await self._of(_HOSTS_OF, "id", _hosts.c.id, {"user_id": user_id}, limit, after)

    async def eligible(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[Host]:
        """Return the hosts a user may run on, by name: those assigned; else all runners not restricted.

        There is none for a user who is unknown, disabled or archived.

        Cost: one read by uq_hosts__name, which passes over the other hosts.
        """
        return await self._of(_ELIGIBLE, "name", _hosts.c.name, {"user_id": user_id}, limit, after)

    async def _of(
        self, plans: Any, key: str, by: Column[Any], values: dict[str, Any], limit: int, after: str | None
    ) -> Page[Any]:
        """Return a page of one of these lists: sorted by ``by``, which the rows have as ``key``."""
        limit = capped(limit, self.most)
        plan: Plan[Any] = plans[after is not None]
        listing = f"{plan.name}:{sorted(values.items())}"
        if after is not None:
            values["after_0"] = values_of(listing, after, [by])[0]
        rows = await self.connection.fetch_all(plan, {**values, "limit": limit + 1})
        return page_of(rows, limit, listing, [key])


def _assign(user_id: int, host_id: int) -> Script[bool]:
    host_type = yield from one(_HOST, host_id=host_id)
    if host_type is None:
        raise MissingReference(
            f"user_hosts: no row of hosts for host_id '{host_id}'; add it first", constraint="fk_user_hosts__host_id"
        )
    if host_type is not HostType.runner:
        raise BadInput(f"host {host_id} is a supervisor; users are assigned to runners")
    made = yield from one(insert_unless_there(UserHost, ("user_id", "host_id")), user_id=user_id, host_id=host_id)
    return made is not None
