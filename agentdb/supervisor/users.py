"""Users: every principal, found by name or e-mail address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select

from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput, NotFound
from agentdb.page import Page
from agentdb.repository import Repository
from agentdb.supervisor.models import User, UserKind, UserStatus

_USERNAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+").fullmatch

_BY_USERNAME: Final = Plan[User](
    select(User).where(User.username == bindparam("username")), name="users.by_username", rows=User, point=True
)
_BY_EMAIL: Final = Plan[User](
    select(User).where(User.email == bindparam("email")), name="users.by_email", rows=User, point=True
)


class Users(Repository[User]):
    """The principals of an installation: people, agents and services.

    Usernames are compared as they are written, e-mail addresses without case.
    """

    model = User

    async def create(
        self,
        username: str,
        *,
        kind: UserKind | str = UserKind.human,
        email: str | None = None,
        **details: Any,
    ) -> User:
        """Create a user.

        Args:
            username: 1 to 64 of letters, digits, ``_`` and ``-``.
            kind: what the user is.
            email: stored in lower case.
            details: any other column.

        Raises: BadInput; Conflict when the username or the address is taken; MissingReference for an unknown role,
            lead or agent.
        """
        return await self.add(username=username, kind=kind, email=email, **details)

    async def get_or_create(self, username: str, **details: Any) -> tuple[User, bool]:
        """Return the user of this name, and whether this call created it: of many at once, exactly one does.

        Args: details: of the user to create, as in `create`; one that is there stays as it is.
        Raises: as `create`, but for a taken username.
        Cost: one read when it is there, and one insert when it is new.
        """
        values = _normal({"username": username, **details})
        user = await self.connection.fetch_one(_BY_USERNAME, {"username": username})
        if user is not None:
            return user, False
        user = await self.connection.fetch_one(insert_unless_there(User, ("username",)), values)
        if user is not None:
            return user, True
        return await self.by_username(username), False

    async def by_username(self, username: str) -> User:
        """Return the user of this name.

        Raises: NotFound.
        Cost: one read by uq_users__username.
        """
        user = await self.connection.fetch_one(_BY_USERNAME, {"username": username})
        if user is None:
            raise NotFound(f"there is no user {username!r}")
        return user

    async def by_email(self, email: str) -> User:
        """Return the user with this e-mail address, in whatever case it is written.

        Raises: NotFound; BadInput for what is not an address.
        Cost: one read by uq_users__email.
        """
        user = await self.connection.fetch_one(_BY_EMAIL, {"email": _address(email)})
        if user is None:
            raise NotFound(f"no user has the e-mail address {email!r}")
        return user

    async def list(
        self,
        *,
        kind: UserKind | str | None = None,
        status: UserStatus | str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[User]:
        """Return users by username: all, or those of one kind or status.

        Cost: one read by uq_users__username, which passes over users of another kind or status.
        """
        asked = {"kind": kind, "status": status}
        criteria: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return await self.page(by="username", limit=limit, after=after, **criteria)

    # Whichever way a user is written, the name is checked and the address is in lower case.

    async def add(self, **values: Any) -> User:
        """Add a user; as `create`, by columns."""
        return await super().add(**_normal(values))

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add users in bulk, all or none, and return how many."""
        return await super().add_many([_normal(row) for row in rows])

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> User:
        """Change columns of a user, and return the user."""
        return await super().update(*key, expected_version=expected_version, **_normal(changes))

    async def upsert(self, *, on: Sequence[str], **values: Any) -> User:
        """Add a user, or change the one with the same values in the columns ``on``; return it either way."""
        return await super().upsert(on=on, **_normal(values))


def _normal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's values with the name checked and the address normalised."""
    normal = dict(values)
    if "username" in normal and not (isinstance(normal["username"], str) and _USERNAME(normal["username"])):
        raise BadInput(f"a username has 1 to 64 letters, digits, '_' and '-', not {normal['username']!r}")
    if normal.get("email") is not None:
        normal["email"] = _address(normal["email"])
    return normal


def _address(email: str) -> str:
    address = email.strip().lower()
    if not _EMAIL(address):
        raise BadInput(f"{email!r} is not an e-mail address; write name@domain")
    return address
