"""Registration tokens: they let a user set a password or a passkey, once; and the first administrator's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Table, bindparam, select, update

from agentdb.auditing import recorded
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import NotFound
from agentdb.guarded import Guarded
from agentdb.repository import MOST
from agentdb.supervisor.access import Permission
from agentdb.supervisor.hashing import HASHER, Hasher, password_bytes
from agentdb.supervisor.models import PasskeyCredential, RegistrationToken, User, UserPermission, UserStatus
from agentdb.supervisor.open_tokens import forgotten
from agentdb.supervisor.passkeys import credential_values, enrolled
from agentdb.supervisor.passwords import has_passkey, stored
from agentdb.supervisor.permissions import administrators, administrators_locked
from agentdb.supervisor.principals import locked_active
from agentdb.supervisor.profiles import normal
from agentdb.supervisor.records import Administrator, NewRegistration, Registration
from agentdb.supervisor.standing import created
from agentdb.supervisor.tokens import digest_of, ending, new_token

T = TypeVar("T")

TTL_SECONDS: Final = 7 * 86_400
LONGEST_SECONDS: Final = 30 * 86_400
FIRST: Final = "superadmin"

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_tokens: Final[Table] = RegistrationToken.__table__  # type: ignore[assignment]

_live: Final = (_tokens.c.used_at.is_(None), _tokens.c.expires_at > of(_tokens.c.expires_at, "now"))
_held: Final = (
    select(_tokens.c.id, _users.c.id, _users.c.username, _tokens.c.expires_at)
    .join_from(_tokens, _users, _users.c.id == _tokens.c.user_id)
    .where(_tokens.c.token_hash == of(_tokens.c.token_hash), *_live, _users.c.status == UserStatus.active)
)
_CHECK: Final = Plan[Registration](_held, name="registrations.check", rows=Registration, point=True)
# The user first, as whoever issues a token does: the two never wait for each other in a ring.
_HOLDER: Final = Plan[Registration](
    _held.with_for_update(of=_users, key_share=True), name="registrations.holder", rows=Registration
)
_CONSUME: Final = Plan[None](
    update(_tokens).where(_tokens.c.id == bindparam("token_id"), *_live).values(used_at=of(_tokens.c.used_at, "now")),
    name="registrations.consume",
)
_ANY_LIVE: Final = Plan[int](
    select(_tokens.c.id).where(_tokens.c.user_id == bindparam("user_id"), *_live).limit(1), name="registrations.live"
)
_NAMED: Final = Plan[User](
    select(User).where(User.username == bindparam("username")).with_for_update(key_share=True),
    name="registrations.named",
    rows=User,
)


class Registrations(Guarded[RegistrationToken]):
    """Tokens that let a user set a password or a passkey: one for each user at a time, good for one use.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
        hasher: what makes password hashes.
    """

    model = RegistrationToken

    def __init__(self, connection: Connection, *, most: int = MOST, hasher: Hasher = HASHER) -> None:
        super().__init__(connection, most=most)
        self.hasher = hasher

    async def issue(self, user_id: int, *, ttl_seconds: float = TTL_SECONDS, by: int | None = None) -> NewRegistration:
        """Give a user a new token in place of any that is unused, and return it: it is not shown again.

        Args:
            user_id: whose.
            ttl_seconds: how long it is good, up to 30 days.
            by: the user who asked for it; None: the system.

        Raises: NotFound; InvalidTransition for a user who is not active; BadInput.
        Cost: one transaction of four statements; of many at once, the last one's token is good.
        """
        token = new_token()
        expires_at = ending("a registration token", self.connection.now(), ttl_seconds, LONGEST_SECONDS)
        digest = digest_of(token)
        return NewRegistration(token, await self.connection.run(lambda: _issue(user_id, digest, expires_at, by)))

    async def check(self, token: str) -> Registration:
        """Return whom a token lets register; it stays good.

        Raises: NotFound for one that is unknown, used, replaced or expired, or whose user may not act.
        Cost: one read by uq_registration_tokens__token_hash.
        """
        asked = {"token_hash": digest_of(token), "now": self.connection.now()}
        registration: Registration | None = await self.connection.fetch_one(_CHECK, asked)
        return _good(registration)

    async def consume_for_password(self, token: str, password: str) -> Registration:
        """Use a token to set its user's password; of two at once, one does. Login sessions stay.

        Raises: BadInput for a password that is too short or too long, before the token is touched; NotFound as of
            `check`, and nothing is stored.
        Cost: one read, one hash, one transaction of six statements.
        """
        password_bytes(password)
        await self.check(token)  # a stranger does not get a hash computed
        fresh = await self.hasher.hash(password)
        return await self._consume(token, partial(_take_password, fresh))

    async def consume_for_passkey(self, token: str, **credential: Any) -> PasskeyCredential:
        """Use a token to give its user a passkey, and return it; of two at once, one does.

        Args: credential: as of `credential_values`.
        Raises: BadInput; Conflict for a credential that is known, and the token stays good; NotFound as of `check`.
        Cost: one transaction of six statements.
        """
        values = credential_values(**credential)
        return await self._consume(
            token, lambda registration: enrolled(registration.user_id, values, registration.user_id)
        )

    async def bootstrap(self, username: str = FIRST, *, ttl_seconds: float = TTL_SECONDS) -> Administrator:
        """See that there is an administrator, and return the user of this name.

        Call it at every start, from any number of processes: a new user is given ``supervisor_admin``, and so is one
        that is there and active when nobody is an administrator. Otherwise a user of this name stays as they are: who
        was an administrator once is not made one again by a start.

        An administrator of this name gets one token, which only the call that made it returns, unless there is a
        password, a passkey or a token that is still good; who has lost that one gets another by `issue`.

        Raises: BadInput for a name that is none.
        Cost: one transaction of up to twelve statements.
        """
        token, now = new_token(), self.connection.now()
        digest, expires_at = digest_of(token), ending("a registration token", now, ttl_seconds, LONGEST_SECONDS)
        values = normal({"username": username})
        user, issued = await self.connection.run(lambda: _bootstrap(values, digest, expires_at, now))
        return Administrator(user, token if issued else None)

    async def _consume(self, token: str, use: Callable[[Registration], Script[T]]) -> T:
        digest, now = digest_of(token), self.connection.now()
        return await self.connection.run(lambda: _consumed(digest, now, use))


def _good(registration: Registration | None) -> Registration:
    if registration is None:
        raise NotFound("this registration token is not good, or not any more; ask for a new one")
    return registration


def _issue(user_id: int, digest: str, expires_at: datetime, by: int | None) -> Script[Registration]:
    # The user stays locked: of two at once the second sees, and removes, what the first has made.
    user = yield from locked_active(user_id)
    yield from forgotten(user_id)
    row: RegistrationToken | None = yield from one(
        insert_one(RegistrationToken), user_id=user_id, token_hash=digest, expires_at=expires_at
    )
    if row is None:
        raise NotFound("registration_tokens: the row was not stored; a trigger took it away")
    yield from _told("issue", row.id, user_id, by)
    return Registration(row.id, user_id, user.username, expires_at)


def _consumed(digest: str, now: datetime, use: Callable[[Registration], Script[T]]) -> Script[T]:
    """Use a token up, and do what it is good for; when that fails, the token is good again."""
    registration = _good((yield from one(_HOLDER, token_hash=digest, now=now)))
    if not (yield from count(_CONSUME, token_id=registration.id, now=now)):
        _good(None)
    yield from _told("consume", registration.id, registration.user_id, registration.user_id)
    return (yield from use(registration))


def _take_password(fresh: str, registration: Registration) -> Script[Registration]:
    user_id = registration.user_id
    yield from stored(user_id, fresh)
    yield from recorded(actor_id=user_id, action="set_password", entity="users", entity_id=user_id)
    return registration


def _bootstrap(values: dict[str, Any], digest: str, expires_at: datetime, now: datetime) -> Script[tuple[User, bool]]:
    yield from administrators_locked()
    user = yield from created(insert_unless_there(User, ("username",)), values, None)
    is_new = user is not None
    if user is None:
        user = yield from one(_NAMED, username=values["username"])
    if user is None:
        raise NotFound(f"user {values['username']!r} was removed at this very moment; begin again")
    if user.status is not UserStatus.active:
        return user, False
    present = yield from administrators()
    if user.id not in present:
        if present and not is_new:
            return user, False
        yield from _made_administrator(user.id, now)
    proved = user.password_hash is not None or (yield from has_passkey(user.id))
    if proved or (yield from one(_ANY_LIVE, user_id=user.id, now=now)):
        return user, False
    yield from _issue(user.id, digest, expires_at, None)
    return user, True


def _made_administrator(user_id: int, now: datetime) -> Script[None]:
    detail = {"permission": Permission.supervisor_admin}
    granted = yield from one(
        insert_unless_there(UserPermission, ("user_id", "permission")), user_id=user_id, granted_at=now, **detail
    )
    if granted is not None:
        yield from recorded(actor_id=None, action="grant", entity="users", entity_id=user_id, detail=detail)


def _told(action: str, token_id: int, user_id: int, by: int | None) -> Script[None]:
    detail = {"user_id": user_id}
    yield from recorded(actor_id=by, action=action, entity="registration_tokens", entity_id=token_id, detail=detail)
