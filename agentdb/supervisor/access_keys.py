"""Access keys within a transaction: issued, replaced, revoked, removed; and found by their digest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, Table, and_, bindparam, delete, insert, literal_column, or_, select, true, update
from sqlalchemy.sql import ColumnElement, FromClause

from agentdb.auditing import recorded
from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan, Together
from agentdb.engine.quantities import MomentType
from agentdb.engine.spelling import DigestType
from agentdb.engine.statements import given_arrays
from agentdb.errors import InvalidTransition, NotFound
from agentdb.supervisor.key_records import ENTRY, Caller, KeyEntry
from agentdb.supervisor.models import ApiKey, ApiKeyKind, User, UserStatus

_keys: Final[Table] = ApiKey.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

SHOWN: Final = tuple(_keys.c[name] for name in ENTRY)


def _authenticate_plan() -> Plan[Caller]:
    keys, users = _keys.c, _users.c
    caller = (keys.id, keys.name, users.id, users.uuid, users.username, users.kind, keys.scopes, keys.expires_at)

    def live(now: ColumnElement[Any]) -> ColumnElement[bool]:
        return and_(
            keys.is_active == true(),
            keys.revoked_at.is_(None),
            or_(keys.expires_at.is_(None), keys.expires_at > now),
            users.status == UserStatus.active,
        )

    def joined(source: FromClause) -> FromClause:
        return source.join(_users, users.id == keys.user_id)

    single: Select[Any] = (
        select(*caller)
        .select_from(joined(_keys))
        .where(keys.digest == of(keys.digest), live(of(keys.expires_at, "now")))
    )
    given = given_arrays(digest=DigestType(), now=MomentType())
    together: Select[Any] = (
        select(*caller, given.c.ordinal)
        .select_from(joined(given.join(_keys, keys.digest == given.c.digest)))
        .where(live(given.c.now))
    )
    return Plan(single, name="api_keys.authenticate", rows=Caller, point=True, together=Together(together))


AUTHENTICATE: Final = _authenticate_plan()
FIND: Final = Plan[KeyEntry](
    select(*SHOWN).where(_keys.c.id == of(_keys.c.id, "key_id")), name="api_keys.find", rows=KeyEntry, point=True
)
ADD: Final = Plan[KeyEntry](
    insert(_keys).returning(*SHOWN),
    name="api_keys.add",
    rows=KeyEntry,
    columns=[column.key for column in bound_columns(_keys)],
)
_LOCKED: Final = Plan[KeyEntry](
    select(*SHOWN).where(_keys.c.id == of(_keys.c.id, "key_id")).with_for_update(key_share=True),
    name="api_keys.locked",
    rows=KeyEntry,
)
# A key that has expired leaves its name to the next.
_GIVE_UP_NAME: Final = Plan[None](
    update(_keys)
    .where(
        _keys.c.user_id == of(_keys.c.user_id, "of_user"),
        _keys.c.name == of(_keys.c.name, "of_name"),
        _keys.c.kind == literal_column("'access'"),  # in the words of the partial index, which serves no bound one
        _keys.c.revoked_at.is_(None),
        _keys.c.replaced_at.is_(None),
        _keys.c.expires_at <= of(_keys.c.expires_at, "now"),
    )
    .values(replaced_at=of(_keys.c.replaced_at, "now")),
    name="api_keys.issue: name",
)
_REPLACE: Final = Plan[None](
    update(_keys)
    .where(_keys.c.id == of(_keys.c.id, "key_id"))
    .values(replaced_at=of(_keys.c.replaced_at, "now"), expires_at=of(_keys.c.expires_at, "until")),
    name="api_keys.rotate",
)
_REVOKE: Final = Plan[None](
    update(_keys)
    .where(_keys.c.id == of(_keys.c.id, "key_id"), _keys.c.revoked_at.is_(None))
    .values(revoked_at=of(_keys.c.revoked_at, "now"), is_active=False),
    name="api_keys.revoke",
)
# As a WITH, which is read once: PostgreSQL may run a subquery with a LIMIT again for every row it looks at.
_over: Final = (
    select(_keys.c.id)
    .where(_keys.c.expires_at < of(_keys.c.expires_at, "before"), _keys.c.kind == ApiKeyKind.access)
    .order_by(_keys.c.expires_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("over")
)
_REMOVE_EXPIRED: Final = Plan[None](
    delete(_keys).where(_keys.c.id.in_(select(_over.c.id))), name="api_keys.remove_expired"
)


def issue(given: Mapping[str, Any], *, by: int | None, now: datetime) -> Script[KeyEntry]:
    """Within a script: store a new access key; one of its name that has expired makes room."""
    yield from count(_GIVE_UP_NAME, of_user=given["user_id"], of_name=given["name"], now=now)
    key = yield from added(given)
    expires = key.expires_at.isoformat() if key.expires_at is not None else None
    detail = {"user_id": key.user_id, "name": key.name, "scopes": list(key.scopes), "expires_at": expires}
    yield from recorded(actor_id=by, action="issue", entity="api_keys", entity_id=key.id, detail=detail)
    return key


def added(given: Mapping[str, Any]) -> Script[KeyEntry]:
    """Within a script: store a key of either kind.

    Raises: Conflict when its name is taken; MissingReference for an unknown user or provider.
    """
    key: KeyEntry | None = yield from one(ADD, **given)
    if key is None:
        raise NotFound("api_keys: the key was not stored; a trigger took it away")
    return key


def rotate(
    key_id: int, given: Mapping[str, Any], overlap: timedelta, *, by: int | None, now: datetime
) -> Script[KeyEntry]:
    """Within a script: store a new key in place of a live one, which lives on for the overlap.

    Args: given: the new key's digest and prefix, and when it expires; without that it lives as long as the old one.
    """
    old: KeyEntry | None = yield from one(_LOCKED, key_id=key_id)
    if old is None or old.kind is not ApiKeyKind.access:
        raise NotFound(f"there is no access key {key_id}")
    expired = old.expires_at is not None and old.expires_at <= now
    if not old.is_active or old.revoked_at is not None or old.replaced_at is not None or expired:
        raise InvalidTransition(f"API key {key_id} ({old.prefix}) is not live any more; issue a new one")
    until = now + overlap if old.expires_at is None else min(old.expires_at, now + overlap)
    yield from count(_REPLACE, key_id=key_id, now=now, until=until)
    lives = None if old.expires_at is None else _later(now, old.expires_at - old.created_at)
    copied = {"user_id": old.user_id, "kind": old.kind, "name": old.name, "scopes": old.scopes}
    key = yield from added({**copied, "metadata": old.metadata, "expires_at": lives, **given})
    detail = {"replaced_by": key.id, "name": key.name, "until": until.isoformat()}
    yield from recorded(actor_id=by, action="rotate", entity="api_keys", entity_id=key_id, detail=detail)
    return key


def _later(now: datetime, time: timedelta) -> datetime | None:
    """Return the moment after so much time; None, for ever, when no calendar has it."""
    try:
        return now + time
    except OverflowError:
        return None


def revoke(key_id: int, *, by: int | None, now: datetime) -> Script[bool]:
    """Within a script: end a key of either kind, and tell whether it had not been before."""
    if not (yield from count(_REVOKE, key_id=key_id, now=now)):
        if (yield from one(FIND, key_id=key_id)) is None:
            raise NotFound(f"there is no API key {key_id}")
        return False
    yield from recorded(actor_id=by, action="revoke", entity="api_keys", entity_id=key_id)
    return True


def remove_expired(before: datetime, limit: int, *, by: int | None) -> Script[int]:
    """Within a script: remove access keys that expired before a moment, and return how many."""
    removed = yield from count(_REMOVE_EXPIRED, before=before, limit=limit)
    if removed:
        detail = {"expired_before": before.isoformat(), "removed": removed}
        yield from recorded(actor_id=by, action="remove", entity="api_keys", detail=detail)
    return removed
