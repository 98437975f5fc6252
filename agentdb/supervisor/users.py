"""Users: every principal, found by name or e-mail address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, or_, select

from agentdb.engine.asked import several, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import one
from agentdb.engine.folding import ESCAPE, containing
from agentdb.engine.plan import Plan
from agentdb.engine.spelling import TextType
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import BadInput, NotFound, brief
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of
from agentdb.supervisor.edits import updated, upserted
from agentdb.supervisor.models import User, UserKind, UserStatus
from agentdb.supervisor.profiles import SEARCHED, address, new, normal, plain
from agentdb.supervisor.standing import ARCHIVE, DISABLE, ENABLE, RESTORE, created, moved, removed, renamed

LONGEST_TEXT: Final = 255  # of a search, in characters

_users: Final[Table] = User.__table__  # type: ignore[assignment]

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
        by: int | None = None,
        **details: Any,
    ) -> User:
        """Create a user.

        Args:
            username: 1 to 64 of letters, digits, ``_`` and ``-``.
            kind: what the user is.
            email: stored in lower case.
            by: the user who creates it; None: the system.
            details: any other column.

        Raises: BadInput; Conflict when the username or the address is taken; MissingReference for an unknown role,
            lead or agent.
        Cost: one transaction of two statements.
        """
        values = normal(new({"username": username, "kind": kind, "email": email, **details}))
        user = await self.connection.run(lambda: created(insert_one(User), values, by))
        return self._there(user)

    async def get_or_create(self, username: str, *, by: int | None = None, **details: Any) -> tuple[User, bool]:
        """Return the user of this name, and whether this call created it: of many at once, exactly one does.

        Args: details: of the user to create, as in `create`; one that is there stays as it is.
        Raises: as `create`, but for a taken username.
        Cost: one read when it is there, and one transaction of two statements when it is new.
        """
        values = normal(new({"username": username, **details}))
        user = await self.connection.fetch_one(_BY_USERNAME, {"username": username})
        if user is not None:
            return user, False
        user = await self.connection.run(lambda: created(insert_unless_there(User, ("username",)), values, by))
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
        user = await self.connection.fetch_one(_BY_EMAIL, {"email": address(email)})
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

    async def search(
        self,
        text: str,
        *,
        kind: UserKind | str | None = None,
        status: UserStatus | str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[User]:
        """Return the users whose username, title or e-mail address contains a text, by username.

        Args:
            text: as it is written but for its case: ``%`` and ``_`` stand for themselves.
            kind: of this kind only.
            status: of this status only.
            limit: how many.
            after: the ``next`` of the page before.

        Raises: BadInput for no text, or one of more than 255 characters.
        Cost: one read by uq_users__username, which looks at each user until the page is full.
        """
        if not isinstance(text, str):
            raise BadInput(f"a search for users is for text, not {type(text).__name__}")
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise BadInput(f"a search for users is for 1 to {LONGEST_TEXT} characters, not {len(text)}")
        limit = capped(limit, self.most)
        asked = {"kind": kind, "status": status}
        criteria: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        pattern = containing(text)
        listing = f"users.search:{pattern}:{sorted((name, brief(value)) for name, value in criteria.items())}"
        values = {**criteria, "pattern": pattern, "limit": limit + 1}
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_users.c.username])
        rows = await self.connection.fetch_all(_search_plan(frozenset(criteria), after is not None), values)
        return page_of(rows, limit, listing, ["username"])

    async def rename(
        self, user_id: int, username: str, *, expected_version: int | None = None, by: int | None = None
    ) -> User:
        """Give a user another name, and return the user. What refers to the user does so by id, and stays.

        Raises: NotFound; StaleVersion when somebody else was first; Conflict when the name is taken; BadInput.
        Cost: one transaction of four statements.
        """
        values = normal({"username": username})
        if expected_version is not None:
            whole_number(expected_version, "expected_version")
        return await self.connection.run(lambda: renamed(user_id, values, expected_version, by))

    async def disable(self, user_id: int, *, by: int | None = None) -> User:
        """See that a user acts no more, and return the user: sessions and keys stop at once, the runtime key is gone.

        Raises: NotFound; InvalidTransition for one who is archived, and for the last administrator.
        Cost: one transaction of up to six statements, as of the three below.
        """
        return await self.connection.run(lambda: moved(user_id, DISABLE, by))

    async def enable(self, user_id: int, *, by: int | None = None) -> User:
        """Let a disabled user act again, and return the user. The runtime key does not come back.

        Raises: NotFound; InvalidTransition for one who is archived.
        """
        return await self.connection.run(lambda: moved(user_id, ENABLE, by))

    async def archive(self, user_id: int, *, by: int | None = None) -> User:
        """Put a user away, and return the user; otherwise as `disable`.

        Raises: NotFound; InvalidTransition for the last administrator.
        """
        return await self.connection.run(lambda: moved(user_id, ARCHIVE, by))

    async def restore(self, user_id: int, *, by: int | None = None) -> User:
        """Take an archived user out again, and return the user, who is disabled until `enable`.

        Raises: NotFound; InvalidTransition for one who is not archived.
        """
        return await self.connection.run(lambda: moved(user_id, RESTORE, by))

    async def remove(self, *key: Any, by: int | None = None) -> bool:
        """Remove a user with all that is theirs, and tell whether the user was there.

        What they wrote to others, what they spent and what they did stays, without them; whom they led has no lead.

        Raises: InvalidTransition for the last administrator.
        Cost: one transaction, longer the more is theirs.
        """
        user_id = self._key(key)["id"]
        return await self.connection.run(lambda: removed(user_id, by))

    # Whichever way a user is written, the name is checked, the address is in lower case, and a search finds both.

    async def add(self, **values: Any) -> User:
        """Add a user, by columns; the audit log tells only of those who are created."""
        given = normal(new(values))
        if given.get("lead_user_id") is None:
            return await super().add(**given)
        # Never with others in one statement: their ids could be guessed, and a circle closed.
        return self._there(await self.connection.run(lambda: one(insert_one(User), **given)))

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add users in bulk, all or none, and return how many; as `add`."""
        given = list(map(new, several(rows, "rows")))
        if any(row.get("lead_user_id") is not None for row in given):
            raise BadInput("users who are added in bulk have no lead yet; use leads.set_lead() afterwards")
        return await super().add_many([normal(row) for row in given])

    async def update(
        self, *key: Any, expected_version: int | None = None, by: int | None = None, **changes: Any
    ) -> User:
        """Change columns of a user, and return the user; not those that have a method of their own.

        An address that is another is verified anew: ``email_verified_at`` is gone, unless it is given too.

        Args: by: the user who does it; None: the system.
        Raises: as of any table; BadInput for a column that has a method of its own.
        Cost: one transaction of three statements.
        """
        user_id = self._key(key)["id"]
        self.check_changes(changes)
        values = normal(plain(changes))
        if expected_version is not None:
            whole_number(expected_version, "expected_version")
        return await self.connection.run(lambda: updated(user_id, values, expected_version, by))

    async def upsert(self, *, on: Sequence[str], by: int | None = None, **values: Any) -> User:
        """Add a user, or change the one with the same values in the columns ``on``; return it either way.

        Args: by: the user who does it; None: the system.
        Raises: BadInput when ``on`` is not unique together; as `create` and `update`.
        Cost: one transaction of three statements.
        """
        self.check_changes(values, on)
        given = normal(plain(values))
        return await self.connection.run(lambda: upserted(tuple(on), given, by))


@cache
def _search_plan(criteria: frozenset[str], after: bool) -> Plan[User]:
    pattern = bindparam("pattern", type_=TextType())
    found = or_(*(_users.c[f"{name}_folded"].like(pattern, escape=ESCAPE) for name in SEARCHED))
    conditions = [_users.c[name] == of(_users.c[name]) for name in sorted(criteria)]
    statement = select(User).where(found, *conditions)
    if after:
        statement = statement.where(_users.c.username > of(_users.c.username, "after_0"))
    return Plan(statement.order_by(User.username).limit(bindparam("limit")), name="users.search", rows=User)
