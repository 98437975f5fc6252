"""A user within a script: locked while it is decided what becomes of it, or asked whether it may act."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select

from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.errors import InvalidTransition, NotFound
from agentdb.supervisor.models import User, UserStatus

_READ: Final = Plan[User](select(User).where(User.id == bindparam("user_id")), name="users.read", rows=User)
# Not the key: rows that only refer to the user may be written meanwhile.
_LOCKED: Final = Plan[User](
    select(User).where(User.id == bindparam("user_id")).with_for_update(key_share=True), name="users.locked", rows=User
)


def locked(user_id: int) -> Script[User]:
    """Within a script: return a user whom nobody else changes until the end of the transaction.

    Raises: NotFound.
    """
    return _there(user_id, (yield from one(_LOCKED, user_id=user_id)))


def locked_active(user_id: int) -> Script[User]:
    """Within a script: as `locked`, of a user who may act.

    Raises: NotFound; InvalidTransition for one who is disabled or archived.
    """
    return _active((yield from locked(user_id)))


def active(user_id: int) -> Script[User]:
    """Within a script: return a user who may act, at this moment.

    Raises: NotFound; InvalidTransition for one who is disabled or archived.
    """
    return _active(_there(user_id, (yield from one(_READ, user_id=user_id))))


def _there(user_id: int, user: User | None) -> User:
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


def _active(user: User) -> User:
    if user.status is not UserStatus.active:
        raise InvalidTransition(f"user {user.username!r} is {user.status}; only an active user may do this")
    return user
