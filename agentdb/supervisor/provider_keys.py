"""Provider keys within a transaction: sealed, opened, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, exists, literal_column, or_, select, true, update

from agentdb.auditing import recorded
from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_into
from agentdb.errors import InvalidTransition, NotFound
from agentdb.keyring import Keyring
from agentdb.supervisor.access_keys import FIND, SHOWN
from agentdb.supervisor.key_records import KeyEntry
from agentdb.supervisor.models import ApiKey, ApiKeyKind, User, UserStatus

_keys: Final[Table] = ApiKey.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]

# The kind in the words of the partial index, which serves no bound one.
_OF_NAME: Final = (
    _keys.c.user_id == of(_keys.c.user_id),
    _keys.c.provider_id == of(_keys.c.provider_id),
    _keys.c.name == of(_keys.c.name),
    _keys.c.kind == literal_column("'provider'"),
)
BY_NAME: Final = Plan[KeyEntry](
    select(*SHOWN).where(*_OF_NAME), name="api_keys.find_provider_key", rows=KeyEntry, point=True
)
# Locked before its secret is sealed: what is sealed is bound to the uuid of the row it is stored in.
_UUID: Final = Plan[UUID](
    select(_keys.c.uuid).where(*_OF_NAME).with_for_update(key_share=True), name="api_keys.store_provider_key: uuid"
)
_ADD: Final = Plan[KeyEntry](
    insert_into(_keys).on_conflict_do_nothing().returning(*SHOWN),
    name="api_keys.store_provider_key: new",
    rows=KeyEntry,
    columns=[column.key for column in bound_columns(_keys)],
)
_CHANGE: Final = Plan[KeyEntry](
    update(_keys)
    .where(_keys.c.uuid == of(_keys.c.uuid, "of_uuid"))
    .values(is_active=True, is_valid=True, revoked_at=None)
    .values(
        {key: of(_keys.c[key], f"new_{key}") for key in ("secret", "prefix", "expires_at", "metadata")},
    )
    .returning(*SHOWN),
    name="api_keys.store_provider_key: change",
    rows=KeyEntry,
)
_USE: Final = Plan[ApiKey](
    update(_keys)
    .where(
        _keys.c.id == of(_keys.c.id, "key_id"),
        _keys.c.kind == ApiKeyKind.provider,
        _keys.c.is_active == true(),
        _keys.c.revoked_at.is_(None),
        or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > of(_keys.c.expires_at, "now")),
        exists().where(_users.c.id == _keys.c.user_id, _users.c.status == UserStatus.active),
    )
    .values(usage_count=_keys.c.usage_count + 1, last_used_at=of(_keys.c.last_used_at, "now"))
    .returning(_keys),
    name="api_keys.reveal",
    rows=ApiKey,
)
MARK: Final = Plan[KeyEntry](
    update(_keys)
    .where(_keys.c.id == of(_keys.c.id, "key_id"), _keys.c.kind == ApiKeyKind.provider)
    .values(is_valid=of(_keys.c.is_valid, "valid"))
    .returning(*SHOWN),
    name="api_keys.mark_valid",
    rows=KeyEntry,
)


def store(
    place: Mapping[str, Any],
    given: Mapping[str, Any],
    secret: str,
    uuid: UUID,
    keyring: Keyring,
    *,
    by: int | None,
) -> Script[KeyEntry]:
    """Within a script: seal a provider's key and store it, in place of the one of its name when there is one.

    Args:
        place: user_id, provider_id and name.
        given: prefix, expires_at and metadata.
        secret: the key.
        uuid: of the row, when it is new.
        keyring: what seals it.
        by: who stores it; the audit log tells of it.
    """
    key: KeyEntry | None = None
    while key is None:
        there: UUID | None = yield from one(_UUID, **place)
        sealed = keyring.seal(secret, table="api_keys", column="secret", row=there or uuid)
        if there is not None:
            changes = {f"new_{name}": value for name, value in given.items()}
            key = yield from one(_CHANGE, of_uuid=there, new_secret=sealed, **changes)
        else:
            # Another call may store one of this name at this very moment: then nothing is inserted, and it is changed.
            kind = ApiKeyKind.provider
            key = yield from one(_ADD, kind=kind, uuid=uuid, secret=sealed, **place, **given)
    detail = {"user_id": key.user_id, "provider_id": key.provider_id, "name": key.name}
    yield from recorded(actor_id=by, action="store", entity="api_keys", entity_id=key.id, detail=detail)
    return key


def reveal(key_id: int, keyring: Keyring, *, by: int | None, now: datetime) -> Script[str]:
    """Within a script: open a provider's key; the audit log tells of it."""
    row: ApiKey | None = yield from one(_USE, key_id=key_id, now=now)
    if row is None:
        entry = yield from one(FIND, key_id=key_id)
        if entry is None or entry.kind is not ApiKeyKind.provider:
            raise NotFound(f"there is no provider key {key_id}")
        raise InvalidTransition(f"provider key {key_id} was revoked or has expired, or its user may not act")
    secret: str = keyring.open(row.secret or b"", table="api_keys", column="secret", row=row.uuid)
    yield from recorded(actor_id=by, action="read", entity="api_keys", entity_id=key_id)
    return secret
