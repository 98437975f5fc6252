"""Passwords: kept as argon2id hashes, checked in threads, with as much work for a stranger as for a user."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from sqlalchemy import Table, bindparam, select, update

from agentdb.auditing import recorded
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, one
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, InvalidTransition, ReadOnly, StaleVersion
from agentdb.guarded import Guarded
from agentdb.repository import MOST
from agentdb.supervisor.hashing import HASHER, Hasher, checked_hash
from agentdb.supervisor.logins import revoked
from agentdb.supervisor.models import PasskeyCredential, User, UserStatus
from agentdb.supervisor.open_tokens import forgotten
from agentdb.supervisor.principals import locked

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_passkeys: Final[Table] = PasskeyCredential.__table__  # type: ignore[assignment]

_BY: Final = {
    name: Plan[User](
        select(User).where(_users.c[name] == of(_users.c[name], "login"), _users.c.status == UserStatus.active),
        name=f"passwords.verify: by {name}",
        rows=User,
        point=True,
    )
    for name in ("username", "email")
}
_STORE: Final = Plan[None](
    update(_users)
    .where(_users.c.id == bindparam("user_id"))
    .values(password_hash=of(_users.c.password_hash, "new_hash")),
    name="passwords.store",
)
# Only in place of the hash that was checked: a password that was changed meanwhile stays changed.
_REPLACE: Final = Plan[None](
    update(_users)
    .where(_users.c.id == bindparam("user_id"), _users.c.password_hash == of(_users.c.password_hash, "old_hash"))
    .values(password_hash=of(_users.c.password_hash, "new_hash")),
    name="passwords.replace",
)
_ANY_PASSKEY: Final = Plan[int](
    select(_passkeys.c.id).where(_passkeys.c.user_id == bindparam("user_id")).limit(1), name="passwords.passkey"
)


def stored(user_id: int, password_hash: str | None) -> Script[None]:
    """Within a script: store a user's password hash, or none; with a new one, open registration tokens end."""
    yield from count(_STORE, user_id=user_id, new_hash=password_hash)
    if password_hash is not None:
        yield from forgotten(user_id)


def has_passkey(user_id: int) -> Script[bool]:
    """Within a script: tell whether a user has a passkey."""
    return (yield from one(_ANY_PASSKEY, user_id=user_id)) is not None


class Passwords(Guarded[User]):
    """What users sign in with, if they have no passkey: 8 to 128 characters.

    Args:
        connection: the database itself, or an open unit; a hash takes a tenth of a second, in which a unit stays open.
        most: the cap on every limit.
        hasher: what makes and checks hashes.
    """

    model = User

    def __init__(self, connection: Connection, *, most: int = MOST, hasher: Hasher = HASHER) -> None:
        super().__init__(connection, most=most)
        self.hasher = hasher

    async def verify(self, login: str, password: str) -> User | None:
        """Return the active user with this name or e-mail address and this password, or None.

        A stranger, a user who may not act and one without a password cost as much as any other, so that nobody learns
        who is there. A hash of other parameters than today's, or of bcrypt, takes a time of its own; it is replaced by
        one of today's at the first login, unless that is in a unit that only reads.

        Args: login: a username, or an e-mail address in any case; password: as it was typed.
        Raises: BadInput for a login that is not text.
        Cost: one read by a unique index, one hash; another hash and one statement when the old one is replaced.
        """
        if not isinstance(login, str):
            raise BadInput(f"a login is text, not {type(login).__name__}")
        user = await self._user(login)
        known = user.password_hash if user is not None else None
        if not await self.hasher.matches(known, password) or user is None or known is None:
            return None
        # It took a tenth of a second or more: meanwhile the password may have been changed, or the user disabled.
        user = await self._user(login)
        if user is None or user.password_hash != known:
            return None
        if self.hasher.is_outdated(known):
            fresh = await self.hasher.rehash(password)
            with suppress(ReadOnly):  # told before anything is sent, so that the unit goes on
                await self.connection.execute(_REPLACE, {"user_id": user.id, "old_hash": known, "new_hash": fresh})
        return user

    async def set(self, user_id: int, password: str, *, but: int | None = None, by: int | None = None) -> None:
        """Give a user a password, in place of the old one; the user's login sessions and open registration tokens end.

        Args:
            user_id: whose.
            password: the new one.
            but: the id of the session that stays: the one in which the user does this.
            by: the user who does this; None: the system.

        Raises: BadInput for one that is too short or too long; NotFound.
        Cost: one hash, one transaction of five statements.
        """
        fresh = await self.hasher.hash(password)
        await self.connection.run(lambda: _set(user_id, fresh, but, by))

    async def change(
        self, user_id: int, password: str, *, current: str, but: int | None = None, by: int | None = None
    ) -> bool:
        """As `set`, if the present password is ``current``, and return whether it is.

        Raises: as `set`; StaleVersion when somebody else changed it meanwhile.
        Cost: one read, two hashes, one transaction of five statements.
        """
        user = await self.get(user_id)
        if not await self.hasher.matches(user.password_hash, current):
            return False
        fresh = await self.hasher.hash(password)
        await self.connection.run(lambda: _set(user_id, fresh, but, by, expected=user.password_hash))
        return True

    async def bring(self, user_id: int, password_hash: str, *, by: int | None = None) -> None:
        """Store a hash that was made elsewhere: of argon2id, or of bcrypt, which the next login replaces.

        Raises: BadInput for another kind of hash, one that cannot be read, and one that would take too long or too
            much memory to check: see `checked_hash`; NotFound.
        Cost: one transaction of five statements.
        """
        checked_hash(password_hash)
        await self.connection.run(lambda: _set(user_id, password_hash, None, by))

    async def clear(self, user_id: int, *, but: int | None = None, by: int | None = None) -> bool:
        """Take a user's password away, end the user's login sessions, and return whether there was a password.

        Args: user_id: whose; but: the id of the session that stays; by: the user who does this; None: the system.
        Raises: NotFound; InvalidTransition for a user without a passkey, who could not sign in any more.
        Cost: one transaction of up to five statements.
        """
        return await self.connection.run(lambda: _clear(user_id, but, by))

    async def _user(self, login: str) -> User | None:
        by = "email" if "@" in login else "username"  # which no username has
        user: User | None = None
        with suppress(BadInput):  # what can be nobody's name: the caller learns no more than of a stranger
            user = await self.connection.fetch_one(
                _BY[by], {"login": login.strip().lower() if by == "email" else login}
            )
        return user


def _set(user_id: int, fresh: str, but: int | None, by: int | None, expected: str | None = None) -> Script[None]:
    user = yield from locked(user_id)
    if expected is not None and user.password_hash != expected:
        raise StaleVersion(f"the password of user {user.username!r} was changed meanwhile; ask for it again")
    yield from stored(user_id, fresh)
    ended = yield from revoked(user_id, but)
    detail = {"sessions": ended}
    yield from recorded(actor_id=by, action="set_password", entity="users", entity_id=user_id, detail=detail)


def _clear(user_id: int, but: int | None, by: int | None) -> Script[bool]:
    user = yield from locked(user_id)
    if user.password_hash is None:
        return False
    if not (yield from has_passkey(user_id)):
        raise InvalidTransition(f"user {user.username!r} has no passkey and needs the password; add a passkey first")
    yield from stored(user_id, None)
    ended = yield from revoked(user_id, but)
    detail = {"sessions": ended}
    yield from recorded(actor_id=by, action="clear_password", entity="users", entity_id=user_id, detail=detail)
    return True
