"""Runtime keys: what a running agent shows; one for each user, shown once, kept as a digest."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Table, bindparam, or_, select, update

from agentdb.auditing import recorded
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.errors import InvalidTransition, NotFound
from agentdb.guarded import Guarded
from agentdb.supervisor.models import User, UserStatus
from agentdb.supervisor.principals import active
from agentdb.supervisor.tokens import digest_of, new_token

_users: Final[Table] = User.__table__  # type: ignore[assignment]

# Whether the user may act is part of the change: no key is made for one who is disabled at this moment.
_ISSUE: Final = Plan[int](
    update(_users)
    .where(_users.c.id == bindparam("user_id"), _users.c.status == UserStatus.active)
    .values(runtime_key_hash=of(_users.c.runtime_key_hash, "digest"))
    .returning(_users.c.id),
    name="runtime_keys.issue",
)
_only: Final = of(_users.c.runtime_key_hash, "only")
_REVOKE: Final = Plan[None](
    update(_users)
    .where(
        _users.c.id == bindparam("user_id"),
        _users.c.runtime_key_hash.is_not(None),
        or_(_only.is_(None), _users.c.runtime_key_hash == _only),
    )
    .values(runtime_key_hash=None),
    name="runtime_keys.revoke",
)
_USER_OF: Final = Plan[User](
    select(User).where(
        User.runtime_key_hash == of(_users.c.runtime_key_hash, "digest"), User.status == UserStatus.active
    ),
    name="runtime_keys.user_of",
    rows=User,
    point=True,
)


class RuntimeKeys(Guarded[User]):
    """The keys that running agents show. A user has at most one; being disabled or archived takes it away."""

    model = User

    async def issue(self, user_id: int, *, by: int | None = None) -> str:
        """Give a user a new key in place of the old one, and return it: it is not shown again.

        Args: by: the user who asked for it; None: the system.
        Raises: NotFound; InvalidTransition for a user who is not active.
        Cost: one transaction of two statements.
        """
        key = new_token()
        digest = digest_of(key)
        await self.connection.run(lambda: _issue(user_id, digest, by))
        return key

    async def revoke(self, user_id: int, *, digest: str | None = None, by: int | None = None) -> bool:
        """Take a user's key away, and return whether there was one.

        Args:
            user_id: whose.
            digest: of the key that is meant, by `digest_of`: a newer one stays. By default whichever there is.
            by: the user who asked for it; None: the system.

        Cost: one transaction of one or two statements.
        """
        return await self.connection.run(lambda: _revoke(user_id, digest, by))

    async def user_of(self, key: str) -> User:
        """Return the active user whose key this is.

        Raises: NotFound when it is nobody's, or its user may not act.
        Cost: one read by uq_users__runtime_key_hash.
        """
        user = await self.connection.fetch_one(_USER_OF, {"digest": digest_of(key)})
        if user is None:
            raise NotFound("this runtime key is no active user's; issue a new one")
        return user


def _issue(user_id: int, digest: str, by: int | None) -> Script[None]:
    if (yield from one(_ISSUE, user_id=user_id, digest=digest)) is None:
        user = yield from active(user_id)
        raise InvalidTransition(f"user {user.username!r} was not active a moment ago; try again")
    yield from recorded(actor_id=by, action="issue_runtime_key", entity="users", entity_id=user_id)


def _revoke(user_id: int, digest: str | None, by: int | None) -> Script[bool]:
    if not (yield from count(_REVOKE, user_id=user_id, only=digest)):
        return False
    yield from recorded(actor_id=by, action="revoke_runtime_key", entity="users", entity_id=user_id)
    return True
