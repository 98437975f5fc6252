"""Permissions: what users may do, given to them directly or by their role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, exists, literal_column, or_, select, type_coerce, union_all

from agentdb.auditing import recorded
from agentdb.criteria import beyond
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, every, one
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.engine.spelling import TextType
from agentdb.engine.statements import insert_one
from agentdb.errors import InvalidTransition, MissingReference, NotFound
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of
from agentdb.supervisor.access import ALL, Access, Holder, Permission, allowing, known, named
from agentdb.supervisor.models import Policy, Role, RolePolicy, User, UserPermission, UserStatus

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_roles: Final[Table] = Role.__table__  # type: ignore[assignment]
_policies: Final[Table] = Policy.__table__  # type: ignore[assignment]
_role_policies: Final[Table] = RolePolicy.__table__  # type: ignore[assignment]
_granted: Final[Table] = UserPermission.__table__  # type: ignore[assignment]

_ONES_OWN: Final = "what a user may do is that user's to know, and roles and policies are the installation's"
ANY_LEFT: Final = "whether an administrator is left is asked of all of them, and nobody is told who they are"

# Every way to lose an administrator locks all of these first, in one order: of two at once, the second sees what the
# first has left.
_LOCK_ADMINISTRATORS: Final = beyond_tenant(
    Plan[int](
        select(_granted.c.id)
        .where(_granted.c.permission == Permission.supervisor_admin)
        .order_by(_granted.c.id)
        .with_for_update(),
        name="permissions.administrators: lock",
    ),
    ANY_LEFT,
)
# A statement of its own: it sees what was committed while the lock was waited for.
_ADMINISTRATORS: Final = beyond_tenant(
    Plan[int](
        select(_users.c.id)
        .join(_granted, _granted.c.user_id == _users.c.id)
        .where(
            _granted.c.permission == Permission.supervisor_admin,
            _users.c.status == UserStatus.active,
        ),
        name="permissions.administrators",
    ),
    ANY_LEFT,
)


def administrators_locked() -> Script[None]:
    """Within a script: let nobody else make or lose an administrator until the end of the transaction.

    Before any user is locked: whoever needs both comes in this order, and never waits for another in a ring.
    """
    yield from every(_LOCK_ADMINISTRATORS)


def administrators() -> Script[list[int]]:
    """Within a script: return the ids of the administrators: the active users to whom ``supervisor_admin`` is given.

    A role is not asked, nor is ``*:*``: they may allow everything, and make nobody an administrator. What a role allows
    is changed without a look at its users, so an installation could lose its last administrator by it.
    """
    return (yield from every(_ADMINISTRATORS))


def keep_an_administrator(user_id: int) -> Script[None]:
    """Within a script, before it disables, archives or removes a user: see that another administrator is left.

    The administrators stay locked until the end of the transaction, so that two of them cannot remove each other.

    Raises: InvalidTransition when this user is the last one.
    Cost: two statements over the administrators.
    """
    yield from administrators_locked()
    if (yield from administrators()) == [user_id]:
        raise InvalidTransition(f"user {user_id} is the last administrator; make another user one first")


def _can_plan() -> Plan[int]:
    direct = exists().where(_granted.c.user_id == _users.c.id, among(_granted.c.permission, "permissions"))
    by_role = exists().where(
        _role_policies.c.role_id == _users.c.role_id,
        _policies.c.id == _role_policies.c.policy_id,
        _policies.c.resource.in_([of(_policies.c.resource), ALL]),
        _policies.c.action.in_([of(_policies.c.action), ALL]),
    )
    statement = select(_users.c.id).where(
        _users.c.id == bindparam("user_id"), _users.c.status == UserStatus.active, or_(direct, by_role)
    )
    return Plan(statement, name="permissions.can", point=True)


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of an access map: what the two texts are is told by the kind."""

    kind: str
    first: str
    second: str


def _access_plan() -> Plan[_Line]:
    """Return the user, the role, the permissions and the policies of one snapshot, as rows of one shape."""
    user_id = of(_users.c.id, "user_id")
    none = literal_column("''", TextType())
    # The first of a union tells the types of all.
    status = type_coerce(_users.c.status, TextType())
    itself = select(literal_column("'user'"), _users.c.username, status).where(_users.c.id == user_id)
    role = (
        select(literal_column("'role'"), _roles.c.name, none)
        .join_from(_users, _roles, _roles.c.id == _users.c.role_id)
        .where(_users.c.id == user_id)
    )
    direct = select(literal_column("'direct'"), _granted.c.permission, none).where(_granted.c.user_id == user_id)
    policies = (
        select(literal_column("'policy'"), _policies.c.resource, _policies.c.action)
        .join_from(_users, _role_policies, _role_policies.c.role_id == _users.c.role_id)
        .join(_policies, _policies.c.id == _role_policies.c.policy_id)
        .where(_users.c.id == user_id)
    )
    return Plan(union_all(itself, role, direct, policies), name="permissions.access_map", rows=_Line)


def _holders_plan(*, after: bool) -> Plan[Holder]:
    rows = _granted.c
    statement = (
        select(rows.id, rows.user_id, _users.c.username, _users.c.status, rows.granted_by, rows.granted_at)
        .join_from(_granted, _users, _users.c.id == rows.user_id)
        .where(rows.permission == of(rows.permission))
    )
    if after:
        statement = statement.where(beyond([rows.id], newest_first=False))
    return Plan(statement.order_by(rows.id).limit(bindparam("limit")), name="permissions.holders", rows=Holder)


_CAN: Final = beyond_tenant(_can_plan(), _ONES_OWN, own=("user_id",))
_ACCESS: Final = beyond_tenant(_access_plan(), _ONES_OWN, own=("user_id",))
_HOLDERS: Final = _holders_plan(after=False)
_MORE_HOLDERS: Final = _holders_plan(after=True)
_OF_USER: Final = Plan[UserPermission](
    select(UserPermission).where(UserPermission.user_id == bindparam("user_id")).order_by(UserPermission.permission),
    name="permissions.of_user",
    rows=UserPermission,
)
_REVOKE: Final = Plan[None](
    delete(_granted).where(
        _granted.c.user_id == of(_granted.c.user_id), _granted.c.permission == of(_granted.c.permission)
    ),
    name="permissions.revoke",
)


class Permissions:
    """What users may do.

    A permission is given to one user: by its name in `Permission`, or spelled ``resource:action``, where either may be
    ``*``. What a name allows:

    - ``supervisor_admin``: everything
    - ``manage_agents``, ``manage_hosts``, ``manage_models``, ``manage_variables``: any action on ``agents``, ``hosts``,
      ``models``, ``variables``
    - ``agent_communication``: any action on ``mail``
    - ``remote_execution``: ``execute`` on ``runs``
    - ``view_run_logs``: ``read`` on ``logs``

    A role has policies, each a resource and an action, where either may be ``*``. A user who is not active may do
    nothing.

    An installation that has an administrator keeps one: an active user to whom ``supervisor_admin`` itself is given.
    Who may do everything by a role, or by ``*:*``, does not count as one.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most

    async def can(self, user_id: int, action: str, resource: str) -> bool:
        """Tell whether a user may do something; an unknown user may not.

        Args: action: such as ``read``; resource: on what, such as ``agents``.
        Raises: BadInput for what is not text.
        Cost: one read by unique keys.
        """
        asked = {"user_id": user_id, "action": action, "resource": resource}
        permissions = allowing(action, resource)
        try:
            return await self.connection.fetch_one(_CAN, {**asked, "permissions": permissions}) is not None
        except MissingReference:  # within another user's scope
            return False

    async def access_map(self, user_id: int) -> Access:
        """Return what a user may do, to decide many questions by `Access.allows`.

        Raises: NotFound.
        Cost: one read.
        """
        lines: list[_Line] = []
        with suppress(MissingReference):  # within another user's scope
            lines = await self.connection.fetch_all(_ACCESS, {"user_id": user_id})
        texts: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for line in lines:
            texts[line.kind].append((line.first, line.second))
        if not texts["user"]:
            raise NotFound(f"users has no row {user_id}")
        username, status = texts["user"][0]
        return Access(
            user_id=user_id,
            username=username,
            status=UserStatus(status),
            role=texts["role"][0][0] if texts["role"] else None,
            direct=tuple(sorted(permission for permission, _ in texts["direct"])),
            policies=tuple(sorted(set(texts["policy"]))),
        )

    async def grant(self, user_id: int, permission: Permission | str, *, by: int | None) -> UserPermission:
        """Give a permission to a user, and return the grant; the audit log tells of it.

        Args: by: the user who gives it; None: the system.
        Raises: BadInput for an unknown permission; Conflict when the user has it; MissingReference for an unknown user.
        Cost: one transaction of two statements.
        """
        given = {"user_id": user_id, "permission": known(permission), "granted_by": by}
        moment = self.connection.now()
        return await self.connection.run(partial(_grant, given, moment))

    async def revoke(self, user_id: int, permission: Permission | str, *, by: int | None) -> bool:
        """Take a permission from a user, and return whether the user had it; the audit log tells of it.

        Args: by: the user who takes it; None: the system.
        Raises: InvalidTransition for ``supervisor_admin`` of the last administrator.
        Cost: one transaction of one to four statements.
        """
        return await self.connection.run(partial(_revoke, user_id, named(permission), by))

    async def of_user(self, user_id: int) -> list[UserPermission]:
        """Return what was given to a user directly, by name.

        Cost: one read by uq_user_permissions__user_id_permission.
        """
        return await self.connection.fetch_all(_OF_USER, {"user_id": user_id})

    async def holders(self, permission: Permission | str, *, limit: int = 50, after: str | None = None) -> Page[Holder]:
        """Return the users to whom a permission is given, the first to get it first, active or not.

        Cost: one read by ix_user_permissions__permission_id.
        """
        limit = capped(limit, self.most)
        listing = f"user_permissions:{named(permission)}"
        values: dict[str, Any] = {"permission": named(permission), "limit": limit + 1}
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_granted.c.id])
        rows = await self.connection.fetch_all(_HOLDERS if after is None else _MORE_HOLDERS, values)
        return page_of(rows, limit, listing, ["id"])


def _grant(given: Mapping[str, Any], moment: datetime) -> Script[UserPermission]:
    row: UserPermission | None = yield from one(insert_one(UserPermission), **given, granted_at=moment)
    if row is None:
        raise NotFound("user_permissions: the grant was not stored; a trigger took it away")
    yield from recorded(
        actor_id=given["granted_by"],
        action="grant",
        entity="users",
        entity_id=given["user_id"],
        detail={"permission": given["permission"]},
    )
    return row


def _revoke(user_id: int, permission: str, by: int | None) -> Script[bool]:
    if permission == Permission.supervisor_admin:
        yield from keep_an_administrator(user_id)
    if not (yield from count(_REVOKE, user_id=user_id, permission=permission)):
        return False
    yield from recorded(
        actor_id=by, action="revoke", entity="users", entity_id=user_id, detail={"permission": permission}
    )
    return True
