"""Login sessions: opaque tokens, of which only a digest is kept; one read tells whose a token is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, select, update

from agentdb.auditing import recorded
from agentdb.criteria import beyond
from agentdb.engine.asked import members, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound
from agentdb.guarded import Guarded
from agentdb.jsons import encode
from agentdb.page import Page, cursor_of, values_of
from agentdb.repository import capped
from agentdb.supervisor.models import Session, User, UserStatus
from agentdb.supervisor.principals import active
from agentdb.supervisor.records import Login, LoginSession, NewLogin
from agentdb.supervisor.tokens import digest_of, ending, new_token

TTL_SECONDS: Final = 30 * 86_400
LONGEST_SECONDS: Final = 366 * 86_400
LARGEST_JSON: Final = 4_096  # characters of a session's data: it is read with every request

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_sessions: Final[Table] = Session.__table__  # type: ignore[assignment]


def _authenticate_plan() -> Plan[Login]:
    session, user = _sessions.c, _users.c
    columns = (session.id, user.id, user.username, user.uuid, user.kind, session.expires_at, session.data)
    statement = (
        select(*columns)
        .join_from(_sessions, _users, user.id == session.user_id)
        .where(
            session.token_hash == of(session.token_hash),
            session.expires_at > of(session.expires_at, "now"),
            user.status == UserStatus.active,
        )
    )
    return Plan(statement, name="logins.authenticate", rows=Login, point=True)


def _of_user_plan(*, after: bool) -> Plan[LoginSession]:
    session = _sessions.c
    shown = (session[name] for name in LoginSession.__dataclass_fields__)
    statement = select(*shown).where(
        session.user_id == bindparam("user_id"), session.expires_at > of(session.expires_at, "now")
    )
    if after:
        statement = statement.where(beyond([session.id], newest_first=True))
    statement = statement.order_by(session.id.desc()).limit(bindparam("limit"))
    return Plan(statement, name="logins.of_user", rows=LoginSession)


_AUTHENTICATE: Final = _authenticate_plan()
_OF_USER: Final = _of_user_plan(after=False)
_MORE_OF_USER: Final = _of_user_plan(after=True)
# Of many requests at once the first moves the end; the others find it moved.
_RENEW: Final = Plan[datetime](
    update(_sessions)
    .where(
        _sessions.c.id == bindparam("session_id"),
        _sessions.c.expires_at > of(_sessions.c.expires_at, "now"),
        _sessions.c.expires_at < of(_sessions.c.expires_at, "half"),
    )
    .values(expires_at=of(_sessions.c.expires_at, "until"), last_seen_at=of(_sessions.c.last_seen_at, "now"))
    .returning(_sessions.c.expires_at),
    name="logins.renew",
)
_END: Final = Plan[Session](
    delete(_sessions).where(_sessions.c.token_hash == of(_sessions.c.token_hash)).returning(_sessions),
    name="logins.end",
    rows=Session,
)
_REVOKE: Final = Plan[Session](
    delete(_sessions).where(_sessions.c.id == bindparam("session_id")).returning(_sessions),
    name="logins.revoke",
    rows=Session,
)
_REVOKE_ALL: Final = Plan[None](
    delete(_sessions).where(_sessions.c.user_id == bindparam("user_id"), _sessions.c.id != bindparam("but")),
    name="logins.revoke_all",
)
# As a WITH, which is read once: PostgreSQL may run a subquery with a LIMIT again for every row it looks at.
_over: Final = (
    select(_sessions.c.id)
    .where(_sessions.c.expires_at <= of(_sessions.c.expires_at, "now"))
    .order_by(_sessions.c.expires_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("over")
)
_PURGE: Final = Plan[None](delete(_sessions).where(_sessions.c.id.in_(select(_over.c.id))), name="logins.purge")


def revoked(user_id: int, but: int | None = None) -> Script[int]:
    """Within a script: end a user's sessions, all or all but one, and return how many."""
    return (yield from count(_REVOKE_ALL, user_id=user_id, but=0 if but is None else but))


class Logins(Guarded[Session]):
    """Who is signed in. A session ends at its time, when it is revoked, or as soon as its user may not act."""

    model = Session

    async def start(
        self,
        user_id: int,
        *,
        ttl_seconds: float = TTL_SECONDS,
        ip_address: str | None = None,
        user_agent: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> NewLogin:
        """Sign a user in, whose identity was proved, and return the token with the session: it is not shown again.

        Args:
            user_id: who.
            ttl_seconds: how long the session lives, up to a year.
            ip_address: from where.
            user_agent: by which browser or program.
            data: what else belongs to the session, up to 4,096 characters of JSON.

        Raises: NotFound; InvalidTransition for a user who is not active; BadInput.
        Cost: one transaction of three statements.
        """
        content = members(data, "data")
        if len(encode(content)) > LARGEST_JSON:
            raise BadInput(
                f"the data of a login session has up to {LARGEST_JSON:,} characters of JSON; keep less in it"
            )
        token, now = new_token(), self.connection.now()
        row = {
            "user_id": user_id,
            "token_hash": digest_of(token),
            "expires_at": ending("a login session", now, ttl_seconds, LONGEST_SECONDS),
            "ip_address": ip_address,
            "user_agent": user_agent,
            "data": content,
            "last_seen_at": now,
        }
        return NewLogin(token, await self.connection.run(lambda: _start(row)))

    async def authenticate(self, token: str, *, renew_seconds: float | None = None) -> Login:
        """Return the live session of a token, and its user, who is active at this moment.

        Args:
            token: as the client sent it.
            renew_seconds: how long the session then lives on, once less than half of that is left; by default it ends
                when it was to end.

        Raises: NotFound for a token that is unknown, ended or revoked, or whose user may not act.
        Cost: one read by uq_sessions__token_hash; two statements more when it renews.
        """
        now = self.connection.now()
        asked = {"token_hash": digest_of(token), "now": now}
        login: Login | None = await self.connection.fetch_one(_AUTHENTICATE, asked)
        if login is not None and renew_seconds is not None:
            until = ending("a login session", now, renew_seconds, LONGEST_SECONDS)
            half = now + timedelta(seconds=renew_seconds / 2)
            if login.expires_at < half:
                values = {"session_id": login.session_id, "now": now, "half": half, "until": until}
                await self.connection.fetch_one(_RENEW, values)
                login = await self.connection.fetch_one(_AUTHENTICATE, asked)
        if login is None:
            raise NotFound("there is no such login session, or it has ended; sign in again")
        return login

    async def end(self, token: str) -> bool:
        """Sign out: end the session of a token, and return whether there was one.

        Cost: one transaction of one or two statements.
        """
        digest = digest_of(token)
        return await self.connection.run(lambda: _end(digest))

    async def revoke(self, session_id: int, *, by: int | None = None) -> bool:
        """End a session by its id, and return whether there was one.

        Args: by: the user who ends it; None: the system.
        Cost: one transaction of one or two statements.
        """
        return await self.connection.run(lambda: _revoke(session_id, by))

    async def revoke_all(self, user_id: int, *, but: int | None = None, by: int | None = None) -> int:
        """End a user's sessions, and return how many.

        Args: but: the id of the one that stays; by: the user who ends them; None: the system.
        Cost: one transaction of one or two statements, by ix_sessions__user_id.
        """
        return await self.connection.run(lambda: _revoke_all(user_id, but, by))

    async def of_user(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[LoginSession]:
        """Return a user's live sessions, newest first.

        Cost: one read by ix_sessions__user_id.
        """
        limit = capped(limit, self.most)
        values: dict[str, Any] = {"user_id": user_id, "now": self.connection.now(), "limit": limit + 1}
        listing = f"logins:{whole_number(user_id, 'user_id')}"
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_sessions.c.id])
        rows = await self.connection.fetch_all(_OF_USER if after is None else _MORE_OF_USER, values)
        return Page(rows[:limit], cursor_of(listing, [rows[limit - 1].id]) if len(rows) > limit else None)

    async def purge(self, *, limit: int = 1_000) -> int:
        """Remove sessions that have ended, and return how many: repeat until it is none.

        Args: limit: how many at most, so that the transaction stays short.
        Cost: one statement, by ix_sessions__expires_at; none waits for another.
        """
        values = {"now": self.connection.now(), "limit": capped(limit, self.most)}
        return await self.connection.execute(_PURGE, values)


def _start(row: Mapping[str, Any]) -> Script[Login]:
    user = yield from active(row["user_id"])
    session: Session | None = yield from one(insert_one(Session), **row)
    if session is None:
        raise NotFound("sessions: the row was not stored; a trigger took it away")
    yield from recorded(
        actor_id=user.id, action="login", entity="sessions", entity_id=session.id, ip_address=row["ip_address"]
    )
    return Login(session.id, user.id, user.username, user.uuid, user.kind, session.expires_at, row["data"])


def _end(digest: str) -> Script[bool]:
    session: Session | None = yield from one(_END, token_hash=digest)
    if session is None:
        return False
    yield from recorded(actor_id=session.user_id, action="logout", entity="sessions", entity_id=session.id)
    return True


def _revoke(session_id: int, by: int | None) -> Script[bool]:
    session: Session | None = yield from one(_REVOKE, session_id=session_id)
    if session is None:
        return False
    detail = {"user_id": session.user_id}
    yield from recorded(actor_id=by, action="revoke", entity="sessions", entity_id=session_id, detail=detail)
    return True


def _revoke_all(user_id: int, but: int | None, by: int | None) -> Script[int]:
    ended = yield from revoked(user_id, but)
    if ended:
        detail = {"sessions": ended}
        yield from recorded(actor_id=by, action="revoke_sessions", entity="users", entity_id=user_id, detail=detail)
    return ended
