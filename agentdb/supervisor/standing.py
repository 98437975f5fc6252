"""How a user comes, changes standing and goes: each a script, told to the audit log in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, bindparam, update

from agentdb.auditing import recorded
from agentdb.criteria import delete_plan
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.errors import InvalidTransition, NotFound, StaleVersion
from agentdb.supervisor.models import User, UserStatus
from agentdb.supervisor.notices import noticed
from agentdb.supervisor.permissions import keep_an_administrator
from agentdb.supervisor.principals import locked

_users: Final[Table] = User.__table__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Move:
    """A change of standing: what it is called, where it leads, and from where it may be made."""

    action: str
    to: UserStatus
    origins: frozenset[UserStatus]
    remedy: str


_there: Final = UserStatus
DISABLE: Final = Move("disable", _there.disabled, frozenset({_there.active, _there.disabled}), "restore() first")
ENABLE: Final = Move("enable", _there.active, frozenset({_there.active, _there.disabled}), "restore() first")
ARCHIVE: Final = Move("archive", _there.archived, frozenset(_there), "")
RESTORE: Final = Move("restore", _there.disabled, frozenset({_there.archived}), "only who is archived is restored")

_status: Final = of(_users.c.status, "new_status")
_MOVE: Final = Plan[User](
    update(_users)
    .where(_users.c.id == bindparam("user_id"))
    .values(status=_status, version=_users.c.version + 1)
    .returning(_users),
    name="users.enable",
    rows=User,
)
# The key goes with the standing: there is no moment at which the one is without the other.
_STOP: Final = Plan[User](
    update(_users)
    .where(_users.c.id == bindparam("user_id"))
    .values(status=_status, runtime_key_hash=None, version=_users.c.version + 1)
    .returning(_users),
    name="users.disable",
    rows=User,
)
_RENAME: Final = Plan[User](
    update(_users)
    .where(_users.c.id == bindparam("user_id"))
    .values(
        username=of(_users.c.username, "new_username"),
        username_folded=of(_users.c.username_folded, "new_username_folded"),
        version=_users.c.version + 1,
    )
    .returning(_users),
    name="users.rename",
    rows=User,
)


def created(insert: Plan[User], values: Mapping[str, Any], by: int | None) -> Script[User | None]:
    """Within a script: create a user, unless the insert finds one there."""
    user: User | None = yield from one(insert, **values)
    if user is not None:
        detail: dict[str, Any] = {"username": user.username, "kind": user.kind}
        if user.role_id is not None:
            detail["role_id"] = user.role_id
        yield from recorded(actor_id=by, action="create", entity="users", entity_id=user.id, detail=detail)
    return user


def moved(user_id: int, move: Move, by: int | None) -> Script[User]:
    """Within a script: change a user's standing, and tell who follows; one who stands there already stays so."""
    stops = move.to is not UserStatus.active
    if stops:
        yield from keep_an_administrator(user_id)
    user = yield from locked(user_id)
    if user.status not in move.origins:
        raise InvalidTransition(f"user {user.username!r} is {user.status} and cannot {move.action}; {move.remedy}")
    if user.status is move.to and (user.runtime_key_hash is None or not stops):
        return user
    changed: User | None = yield from one(_STOP if stops else _MOVE, user_id=user_id, new_status=move.to)
    detail = {"from": user.status, "to": move.to}
    yield from recorded(actor_id=by, action=move.action, entity="users", entity_id=user_id, detail=detail)
    yield from noticed([user_id])
    return changed or user


def renamed(user_id: int, values: Mapping[str, Any], expected_version: int | None, by: int | None) -> Script[User]:
    """Within a script: give a user another name."""
    user = yield from locked(user_id)
    if expected_version is not None and user.version != expected_version:
        raise StaleVersion(f"users {user_id} is at version {user.version}, not {expected_version}; read it again")
    changed: User | None = yield from one(
        _RENAME, user_id=user_id, **{f"new_{name}": value for name, value in values.items()}
    )
    detail = {"from": user.username, "to": values["username"]}
    yield from recorded(actor_id=by, action="rename", entity="users", entity_id=user_id, detail=detail)
    yield from noticed([user_id])
    return changed or user


def removed(user_id: int, by: int | None) -> Script[bool]:
    """Within a script: remove a user, and tell whether the user was there."""
    yield from keep_an_administrator(user_id)
    try:
        user = yield from locked(user_id)
    except NotFound:
        return False
    # Before the user goes: an entry keeps the actor's name, who may be the user.
    detail = {"username": user.username, "kind": user.kind}
    yield from recorded(actor_id=by, action="remove", entity="users", entity_id=user_id, detail=detail)
    return (yield from count(delete_plan(User), id=user_id)) > 0
