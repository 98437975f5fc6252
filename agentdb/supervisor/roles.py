"""Roles: what groups of users may do, as policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, select, update

from agentdb.auditing import recorded
from agentdb.criteria import delete_plan, update_plan
from agentdb.engine.asked import several
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, each, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound
from agentdb.guarded import Guarded
from agentdb.page import Page
from agentdb.supervisor.models import Policy, Role, RolePolicy, User
from agentdb.supervisor.policies import Allowed, pair_of

_roles: Final[Table] = Role.__table__  # type: ignore[assignment]
_policies: Final[Table] = Policy.__table__  # type: ignore[assignment]
_role_policies: Final[Table] = RolePolicy.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

_BY_NAME: Final = Plan[Role](
    select(Role).where(Role.name == bindparam("name")), name="roles.by_name", rows=Role, point=True
)
_NAMES: Final = Plan[str](select(_roles.c.name).order_by(_roles.c.name).limit(50), name="roles.assign: names")
_LOCKED: Final = Plan[Role](
    select(Role).where(Role.id == bindparam("role_id")).with_for_update(), name="roles.locked", rows=Role
)
_POLICIES: Final = Plan[Policy](
    select(Policy)
    .join(RolePolicy, RolePolicy.policy_id == Policy.id)
    .where(RolePolicy.role_id == bindparam("role_id"))
    .order_by(Policy.resource, Policy.action, Policy.id),
    name="roles.policies",
    rows=Policy,
)
# Of several policies that allow the same, the oldest is given.
_POLICY: Final = Plan[Policy](
    select(Policy)
    .where(Policy.resource == of(_policies.c.resource), Policy.action == of(_policies.c.action))
    .order_by(Policy.id)
    .limit(1),
    name="roles.set_policies: policy",
    rows=Policy,
)
_TAKE: Final = Plan[None](
    delete(_role_policies).where(
        _role_policies.c.role_id == of(_role_policies.c.role_id), among(_role_policies.c.policy_id, "policy_ids")
    ),
    name="roles.set_policies: take",
)
_LOCKED_USER: Final = Plan[User](
    select(User).where(User.id == bindparam("user_id")).with_for_update(key_share=True),
    name="roles.assign: user",
    rows=User,
)
_ASSIGN: Final = Plan[User](
    update(_users)
    .where(_users.c.id == of(_users.c.id, "user_id"))
    .values(role_id=of(_users.c.role_id, "new_role_id"), version=_users.c.version + 1)
    .returning(_users),
    name="roles.assign",
    rows=User,
)


class Roles(Guarded[Role]):
    """The roles of an installation. A user has at most one; what it allows is its policies.

    Whatever is done to them stands in the audit log.
    """

    model = Role

    async def create(self, name: str, *, display_order: int = 0, by: int | None) -> Role:
        """Create a role without policies.

        Args: display_order: where lists show it; by: the user who creates it, None: the system.
        Raises: Conflict when the name is taken; BadInput.
        """
        return await self.connection.run(partial(_create, name, display_order, by))

    async def rename(self, role_id: int, name: str, *, by: int | None) -> Role:
        """Give a role another name; its users keep it.

        Raises: NotFound; Conflict when the name is taken.
        Cost: one transaction of three statements.
        """
        return await self.connection.run(partial(_changed, role_id, {"name": name}, "rename", by))

    async def change(
        self, role_id: int, *, name: str | None = None, display_order: int | None = None, by: int | None
    ) -> Role:
        """Change what a role is called, or where lists show it; None: that stays. What it allows is `set_policies`.

        Raises: NotFound; Conflict when the name is taken; BadInput when nothing is to be changed.
        Cost: one transaction of three statements.
        """
        asked = {"name": name, "display_order": display_order}
        changes = {column: value for column, value in asked.items() if value is not None}
        if not changes:
            raise BadInput("a role is changed by its name or its display_order, and neither was given")
        return await self.connection.run(partial(_changed, role_id, changes, "change", by))

    async def by_name(self, name: str) -> Role:
        """Return the role of this name.

        Raises: NotFound.
        Cost: one read by uq_roles__name.
        """
        role: Role | None = await self.connection.fetch_one(_BY_NAME, {"name": name})
        if role is None:
            raise NotFound(f"there is no role {name!r}")
        return role

    async def list(self, *, limit: int = 50, after: str | None = None) -> Page[Role]:
        """Return roles in the order they are shown in."""
        return await self.page(by="display_order", limit=limit, after=after)

    async def policies(self, role_id: int) -> Sequence[Policy]:
        """Return what a role allows, by resource and action.

        Cost: one read by uq_role_policies__role_id_policy_id.
        """
        return await self.connection.fetch_all(_POLICIES, {"role_id": role_id})

    async def set_policies(self, role_id: int, policies: Iterable[Allowed], *, by: int | None) -> Sequence[Policy]:
        """Let a role allow exactly this, and return its policies; all of it changes at once, or nothing.

        Args: policies: pairs of resource and action, each that of a policy that is there; by: who changes it.
        Raises: NotFound for an unknown role, or naming every pair that is no policy.
        Cost: one transaction of three statements, and two for each pair that is new to the role.
        """
        wanted = frozenset(pair_of(policy) for policy in several(policies, "policies"))
        return await self.connection.run(partial(_change, role_id, lambda _: wanted, by))

    async def add_policy(self, role_id: int, resource: str, action: str, *, by: int | None) -> Sequence[Policy]:
        """Let a role allow one thing more, and return its policies; as `set_policies`."""
        pair = pair_of((resource, action))
        return await self.connection.run(partial(_change, role_id, lambda given: given | {pair}, by))

    async def remove_policy(self, role_id: int, resource: str, action: str, *, by: int | None) -> Sequence[Policy]:
        """Let a role allow one thing less, and return its policies; as `set_policies`."""
        pair = pair_of((resource, action))
        return await self.connection.run(partial(_change, role_id, lambda given: given - {pair}, by))

    async def assign(self, user_id: int, role: str | None, *, by: int | None) -> User:
        """Give a user a role, in place of the one before, and return the user.

        Args: role: its name; None: the user has no role; by: who gives it, None: the system.
        Raises: NotFound for an unknown user, or naming the roles there are.
        """
        return await self.connection.run(partial(_assign, user_id, role, by))

    async def remove(self, *key: Any, by: int | None = None) -> bool:
        """Remove a role, and tell whether it was there; its users have none then."""
        return await self.connection.run(partial(_remove, self._key(key)["id"], by))


def _create(name: str, display_order: int, by: int | None) -> Script[Role]:
    role = _there((yield from one(insert_one(Role), name=name, display_order=display_order)), name)
    yield from recorded(actor_id=by, action="create", entity="roles", entity_id=role.id, detail={"name": name})
    return role


def _changed(role_id: int, changes: Mapping[str, Any], action: str, by: int | None) -> Script[Role]:
    before = _there((yield from one(_LOCKED, role_id=role_id)), role_id)
    plan = update_plan(Role, frozenset(changes), versioned=False)
    role = _there((yield from one(plan, **changes, key_id=role_id)), role_id)
    detail = {**changes, "before": before.name} if "name" in changes else dict(changes)
    yield from recorded(actor_id=by, action=action, entity="roles", entity_id=role_id, detail=detail)
    return role


def _there(role: Role | None, wanted: int | str) -> Role:
    if role is None:
        raise NotFound(f"there is no role {wanted!r}")
    return role


def _change(
    role_id: int, change: Callable[[frozenset[Allowed]], frozenset[Allowed]], by: int | None
) -> Script[list[Policy]]:
    """Give a locked role the policies that ``change`` makes of those it has."""
    _there((yield from one(_LOCKED, role_id=role_id)), role_id)
    before: list[Policy] = yield from every(_POLICIES, role_id=role_id)
    given = frozenset((policy.resource, policy.action) for policy in before)
    wanted = change(given)
    if wanted == given:
        return before
    more, less = sorted(wanted - given), sorted(given - wanted)
    found = yield from each(_POLICY, [{"resource": resource, "action": action} for resource, action in more])
    unknown = [f"{resource}:{action}" for (resource, action), policy in zip(more, found, strict=True) if not policy]
    if unknown:
        raise NotFound(f"there is no policy {', '.join(unknown)}; define it first")
    taken = [policy.id for policy in before if (policy.resource, policy.action) not in wanted]
    yield from count(_TAKE, role_id=role_id, policy_ids=taken)
    added = [{"role_id": role_id, "policy_id": policy.id} for policy in found if policy is not None]
    yield from each(insert_one(RolePolicy), added)
    detail = {"added": [list(pair) for pair in more], "removed": [list(pair) for pair in less]}
    yield from recorded(actor_id=by, action="set_policies", entity="roles", entity_id=role_id, detail=detail)
    return (yield from every(_POLICIES, role_id=role_id))


def _assign(user_id: int, name: str | None, by: int | None) -> Script[User]:
    role: Role | None = None
    if name is not None:
        role = yield from one(_BY_NAME, name=name)
        if role is None:
            names = yield from every(_NAMES)
            raise NotFound(f"there is no role {name!r}; there are {', '.join(names) or 'none'}")
    user: User | None = yield from one(_LOCKED_USER, user_id=user_id)
    if user is None:
        raise NotFound(f"users has no row {user_id}")
    role_id = None if role is None else role.id
    if user.role_id == role_id:
        return user
    changed: User | None = yield from one(_ASSIGN, user_id=user_id, new_role_id=role_id)
    yield from recorded(actor_id=by, action="assign_role", entity="users", entity_id=user_id, detail={"role": name})
    return changed or user


def _remove(role_id: int, by: int | None) -> Script[bool]:
    role: Role | None = yield from one(_LOCKED, role_id=role_id)
    if role is None:
        return False
    yield from count(delete_plan(Role), id=role_id)
    yield from recorded(actor_id=by, action="remove", entity="roles", entity_id=role_id, detail={"name": role.name})
    return True
