"""Leads: who leads whom. Everybody has at most one lead, and nobody leads themselves, directly or through others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import CTE, Table, bindparam, literal, select, update

from agentdb.auditing import recorded
from agentdb.engine.advisory import turn_taken
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.errors import BadInput, InvalidTransition, NotFound
from agentdb.guarded import Guarded
from agentdb.supervisor.access import Permission
from agentdb.supervisor.models import User, UserPermission, UserStatus
from agentdb.supervisor.notices import noticed
from agentdb.supervisor.permissions import ANY_LEFT, keep_an_administrator
from agentdb.supervisor.principals import locked

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_granted: Final[Table] = UserPermission.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Member:
    """A user below or above another one: ``depth`` counts the steps between them, 0 for the user itself."""

    id: int
    username: str
    depth: int


@dataclass(frozen=True, slots=True)
class _Link:
    id: int
    username: str
    lead_user_id: int | None


def _below() -> CTE:
    """Return a user and all whom the user leads, with their depth.

    Everybody is below one lead only, so a circle could come back to nobody but the first: there it ends.
    """
    first = select(_users.c.id, _users.c.username, literal(0, WholeType()).label("depth")).where(
        _users.c.id == bindparam("user_id")
    )
    below = first.cte("below", recursive=True)
    return below.union(
        select(_users.c.id, _users.c.username, below.c.depth + 1)
        .join(below, _users.c.lead_user_id == below.c.id)
        .where(_users.c.id != bindparam("user_id"))
    )


def _above_plan() -> Plan[_Link]:
    # UNION, not UNION ALL: leads that run in a circle end here.
    first = select(_users.c.id, _users.c.username, _users.c.lead_user_id).where(_users.c.id == bindparam("user_id"))
    above = first.cte("above", recursive=True)
    above = above.union(
        select(_users.c.id, _users.c.username, _users.c.lead_user_id).join(above, _users.c.id == above.c.lead_user_id)
    )
    return Plan(select(above.c.id, above.c.username, above.c.lead_user_id), name="leads.above", rows=_Link)


def _below_plan() -> Plan[Member]:
    below = _below()
    statement = select(below.c.id, below.c.username, below.c.depth).order_by(below.c.depth, below.c.id)
    return Plan(statement, name="leads.below", rows=Member)


def _locked_tree_plan() -> Plan[int]:
    """Lock a tree in the order of ids: two that overlap do not wait for each other in a ring."""
    tree = select(_below().c.id)
    statement = select(_users.c.id).where(_users.c.id.in_(tree)).order_by(_users.c.id).with_for_update(key_share=True)
    return Plan(statement, name="leads.tree: lock")


_ABOVE: Final = _above_plan()
_BELOW: Final = _below_plan()
_LOCKED_TREE: Final = _locked_tree_plan()
# Changes of leads follow one another: of two that would close a circle together, the second sees the first.
_TURN: Final = Plan[None](turn_taken("who leads whom"), name="leads: turn")
_SET: Final = Plan[User](
    update(_users)
    .where(_users.c.id == bindparam("user_id"))
    .values(lead_user_id=of(_users.c.lead_user_id, "lead"), version=_users.c.version + 1)
    .returning(_users),
    name="leads.set",
    rows=User,
)
_DISABLE: Final = Plan[int](
    update(_users)
    .where(among(_users.c.id, "ids"), _users.c.status == UserStatus.active)
    .values(status=UserStatus.disabled, runtime_key_hash=None, version=_users.c.version + 1)
    .returning(_users.c.id),
    name="leads.disable_tree",
)
_ENABLE: Final = Plan[int](
    update(_users)
    .where(among(_users.c.id, "ids"), _users.c.status == UserStatus.disabled)
    .values(status=UserStatus.active, version=_users.c.version + 1)
    .returning(_users.c.id),
    name="leads.enable_tree",
)
_is_administrator: Final = _granted.c.permission == Permission.supervisor_admin
_ADMINISTRATORS_AMONG: Final = Plan[int](
    select(_granted.c.user_id).where(_is_administrator, among(_granted.c.user_id, "ids")).limit(1),
    name="leads.disable_tree: administrators",
)
_ADMINISTRATORS_LEFT: Final = beyond_tenant(
    Plan[int](
        select(_granted.c.user_id)
        .join(_users, _users.c.id == _granted.c.user_id)
        .where(_is_administrator, _users.c.status == UserStatus.active)
        .limit(1),
        name="leads.disable_tree: administrators left",
    ),
    ANY_LEFT,
)


class Leads(Guarded[User]):
    """Who leads whom: trees of users, whatever happens at the same time."""

    model = User

    async def set_lead(self, user_id: int, lead_id: int | None, *, by: int | None = None) -> User:
        """Give a user another lead, or none, and return the user.

        Args: user_id: who is led; lead_id: by whom; by: the user who decides it; None: the system.
        Raises: NotFound; BadInput for a lead who is the user or led by the user; MissingReference for an unknown lead.
        Cost: one transaction of up to six statements; changes of leads follow one another.
        """
        return await self.connection.run(lambda: _set(user_id, lead_id, by))

    async def descendants(self, user_id: int, *, including: bool = False) -> list[Member]:
        """Return all whom a user leads, directly or through others: the nearest first; none for an unknown user.

        Args: including: the user too, at depth 0.
        Cost: one read by ix_users__lead_user_id.
        """
        rows = await self.connection.fetch_all(_BELOW, {"user_id": user_id})
        return [row for row in rows if including or row.depth]

    async def leads(self, user_id: int) -> list[Member]:
        """Return a user's lead, that one's lead, and so on to the top: the nearest first.

        Raises: NotFound for an unknown user.
        Cost: one read by the primary key.
        """
        links = {row.id: row for row in await self.connection.fetch_all(_ABOVE, {"user_id": user_id})}
        if user_id not in links:
            raise NotFound(f"there is no user {user_id}")
        chain: list[Member] = []
        at = links.pop(user_id).lead_user_id
        while at is not None and at in links:
            link = links.pop(at)
            chain.append(Member(link.id, link.username, len(chain) + 1))
            at = link.lead_user_id
        return chain

    async def disable_tree(self, user_id: int, *, by: int | None = None) -> list[int]:
        """Disable a user and all whom the user leads, and return the ids of those who were active.

        Raises: NotFound; InvalidTransition when no administrator would be left.
        Cost: one transaction of seven statements, and two for each user who was active.
        """
        return await self.connection.run(lambda: _disable_tree(user_id, by))

    async def enable_tree(self, user_id: int, *, by: int | None = None) -> list[int]:
        """Enable a user and all whom the user leads, and return the ids of those who were disabled.

        Whoever is archived stays so; runtime keys do not come back.

        Raises: NotFound.
        Cost: one transaction of three statements, and two for each user who was disabled.
        """
        return await self.connection.run(lambda: _enable_tree(user_id, by))


def _set(user_id: int, lead_id: int | None, by: int | None) -> Script[User]:
    if lead_id is not None:
        yield from count(_TURN)
    user = yield from locked(user_id)
    before = user.lead_user_id
    if lead_id == before:
        return user
    if lead_id is not None:
        above = yield from every(_ABOVE, user_id=lead_id)
        if any(link.id == user_id for link in above):
            raise BadInput(f"user {lead_id} is led by user {user_id}, or is that user, and cannot become its lead")
    changed: User | None = yield from one(_SET, user_id=user_id, lead=lead_id)
    yield from recorded(
        actor_id=by, action="set_lead", entity="users", entity_id=user_id, detail={"from": before, "to": lead_id}
    )
    yield from noticed([user_id])
    return changed or user


def _locked_tree(user_id: int) -> Script[list[int]]:
    yield from count(_TURN)
    ids = yield from every(_LOCKED_TREE, user_id=user_id)
    if not ids:
        raise NotFound(f"there is no user {user_id}")
    return ids


def _disable_tree(user_id: int, by: int | None) -> Script[list[int]]:
    yield from keep_an_administrator(user_id)
    ids = yield from _locked_tree(user_id)
    changed = yield from every(_DISABLE, ids=ids)
    administrators = yield from every(_ADMINISTRATORS_AMONG, ids=changed)
    if administrators and not (yield from every(_ADMINISTRATORS_LEFT)):
        raise InvalidTransition(
            f"all administrators are led by user {user_id}; make a user outside of the tree an administrator first"
        )
    return (yield from _told(changed, "disable", by))


def _enable_tree(user_id: int, by: int | None) -> Script[list[int]]:
    ids = yield from _locked_tree(user_id)
    changed = yield from every(_ENABLE, ids=ids)
    return (yield from _told(changed, "enable", by))


def _told(changed: list[int], action: str, by: int | None) -> Script[list[int]]:
    for user_id in sorted(changed):
        yield from recorded(actor_id=by, action=action, entity="users", entity_id=user_id)
    yield from noticed(changed)
    return sorted(changed)
