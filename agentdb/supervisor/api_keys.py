"""API keys: what callers present to the platform, and what the platform presents to providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, select

from agentdb.criteria import beyond
from agentdb.engine.asked import is_number, members, moment, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.errors import BadInput, NotFound, brief
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of
from agentdb.supervisor import access_keys, provider_keys
from agentdb.supervisor.access_keys import SHOWN
from agentdb.supervisor.key_records import (
    Caller,
    Issued,
    KeyEntry,
    checked_scopes,
    digest_of,
    hint_of,
    new_key,
    prefix_of,
)
from agentdb.supervisor.key_use import KeyUses
from agentdb.supervisor.models import ApiKey, ApiKeyKind
from agentdb.types import uuid7

LONGEST_OVERLAP_SECONDS: Final = 366 * 86_400

_keys: Final[Table] = ApiKey.__table__  # type: ignore[assignment]


@cache
def _list_plan(*, of_kind: bool, after: bool) -> Plan[KeyEntry]:
    statement = select(*SHOWN).where(_keys.c.user_id == of(_keys.c.user_id))
    if of_kind:
        statement = statement.where(_keys.c.kind == of(_keys.c.kind))
    if after:
        statement = statement.where(beyond([_keys.c.id], newest_first=True))
    return Plan(statement.order_by(_keys.c.id.desc()).limit(bindparam("limit")), name="api_keys.list", rows=KeyEntry)


class ApiKeys:
    """The keys of users, of two kinds.

    An access key is what a caller presents: ``adb_`` and 43 characters, told once when it is issued; only its SHA-256
    is stored. A provider key is what the platform presents to a provider: sealed with the keys of
    AGENTDB_ENCRYPTION_KEYS, without which none is stored. Whatever is done to a key stands in the audit log.

    Nothing here but `issue`, `rotate` and `reveal` returns a key, and nothing a digest.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
        uses: where the uses of access keys are counted.
    """

    def __init__(self, connection: Connection, *, most: int, uses: KeyUses) -> None:
        self.connection = connection
        self.most = most
        self.uses = uses

    # Access keys

    async def authenticate(self, plaintext: str) -> Caller:
        """Return who presents this access key, and count its use.

        The use is written with others a few seconds later: see `KeyUses`.

        Raises: BadInput for what cannot be a key, before anything is read; NotFound when no live key of an active user
            is this one.
        Cost: one read by uq_api_keys__digest; concurrent calls share one.
        """
        digest, now = digest_of(plaintext), self.connection.now()
        caller: Caller | None = await self.connection.fetch_one(
            access_keys.AUTHENTICATE, {"digest": digest, "now": now}
        )
        if caller is None:
            raise NotFound("no live API key is this one: it never was, was revoked or has expired; issue a new one")
        self.uses.count(caller.key_id, now)
        return caller

    async def issue(
        self,
        user_id: int,
        name: str,
        *,
        scopes: Sequence[str] = (),
        expires_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        by: int | None,
    ) -> Issued:
        """Issue an access key, and return it: this once.

        Args:
            user_id: whose it is.
            name: what the user calls it; no two live keys of a user have one name.
            scopes: what it may be used for; ``*`` is everything.
            expires_at: when it ends; None: it lives until it is revoked.
            metadata: what else is worth keeping, without secrets.
            by: the user who issues it; None: the system.

        Raises: BadInput; Conflict when the name is taken; MissingReference for an unknown user.
        Cost: one transaction of three statements.
        """
        plaintext, now = new_key(), self.connection.now()
        given = {
            **_proof(plaintext),
            "user_id": user_id,
            "kind": ApiKeyKind.access,
            "name": _filled(name, "a key's name"),
            "scopes": checked_scopes(scopes),
            "expires_at": _in_the_future(expires_at, now),
            "metadata": members(metadata, "metadata"),
        }
        key = await self.connection.run(partial(access_keys.issue, given, by=by, now=now))
        return Issued(key, plaintext)

    async def rotate(
        self, key_id: int, *, overlap_seconds: float = 0, expires_at: datetime | None = None, by: int | None
    ) -> Issued:
        """Issue an access key in place of a live one, and return it: with the same name, scopes and metadata.

        Args:
            key_id: the one it replaces.
            overlap_seconds: how long that one lives on, up to a year, but never beyond its own end; 0: it ends now.
            expires_at: when the new one ends; None: it lives as long as the old one was given.
            by: the user who does it; None: the system.

        Raises: NotFound; InvalidTransition when the old key is not live, or was replaced already; BadInput.
        Cost: one transaction of four statements.
        """
        if not is_number(overlap_seconds) or not 0 <= overlap_seconds <= LONGEST_OVERLAP_SECONDS:
            raise BadInput(f"an overlap has 0 to {LONGEST_OVERLAP_SECONDS:,} seconds, not {brief(overlap_seconds)}")
        plaintext, now = new_key(), self.connection.now()
        given: dict[str, Any] = _proof(plaintext)
        if expires_at is not None:
            given["expires_at"] = _in_the_future(expires_at, now)
        overlap = timedelta(seconds=overlap_seconds)
        key = await self.connection.run(partial(access_keys.rotate, key_id, given, overlap, by=by, now=now))
        return Issued(key, plaintext)

    async def revoke(self, key_id: int, *, by: int | None) -> bool:
        """End a key of either kind, and return whether this call did; it stays in lists.

        Args: by: the user who does it; None: the system.
        Raises: NotFound for an unknown key.
        Cost: one transaction of two statements.
        """
        return await self.connection.run(partial(access_keys.revoke, key_id, by=by, now=self.connection.now()))

    async def remove_expired(self, before: datetime, *, limit: int = 1_000, by: int | None = None) -> int:
        """Remove access keys that expired before a moment, and return how many; fewer than the limit: it was all.

        Cost: one transaction of one statement by ix_api_keys__expires_at, and an entry of the audit log.
        """
        limit = capped(limit, self.most)
        before = min(moment(before, "before"), self.connection.now())
        return await self.connection.run(partial(access_keys.remove_expired, before, limit, by=by))

    # Provider keys

    async def store_provider_key(
        self,
        user_id: int,
        provider_id: int,
        name: str,
        secret: str,
        *,
        expires_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        by: int | None,
    ) -> KeyEntry:
        """Seal and store a provider's key, in place of the user's one of this name; it is valid until told otherwise.

        Args:
            user_id: whose it is.
            provider_id: of whom.
            name: what the user calls it.
            secret: the key.
            expires_at: when the provider ends it, if that is known.
            metadata: what else is worth keeping, without secrets.
            by: the user who stores it; None: the system.

        Raises: BadSettings without an encryption key; BadInput; MissingReference for an unknown user or provider.
        Cost: one transaction of three statements.
        """
        secret = _filled(secret, "a provider's key")
        place = {"user_id": user_id, "provider_id": provider_id, "name": _filled(name, "a key's name")}
        given = {"prefix": hint_of(secret), "expires_at": expires_at, "metadata": members(metadata, "metadata")}
        keyring, uuid = self.connection.keyring, uuid7()
        return await self.connection.run(partial(provider_keys.store, place, given, secret, uuid, keyring, by=by))

    async def find_provider_key(self, user_id: int, provider_id: int, name: str) -> KeyEntry | None:
        """Return the user's key of this provider and name, or None.

        Cost: one read by uq_api_keys__user_id_provider_id_name.
        """
        place = {"user_id": user_id, "provider_id": provider_id, "name": name}
        entry: KeyEntry | None = await self.connection.fetch_one(provider_keys.BY_NAME, place)
        return entry

    async def reveal(self, key_id: int, *, by: int | None) -> str:
        """Return a provider's key itself, and count its use.

        Args: by: the user who reads it; None: the system.
        Raises: NotFound; InvalidTransition when it was revoked, has expired, or its user is not active;
            DecryptionFailed.
        Cost: one transaction of two statements.
        """
        now, keyring = self.connection.now(), self.connection.keyring
        return await self.connection.run(partial(provider_keys.reveal, key_id, keyring, by=by, now=now))

    async def mark_valid(self, key_id: int, valid: bool) -> KeyEntry:
        """Keep whether the provider accepts a key, and return the key's entry.

        Raises: NotFound for what is no provider key.
        Cost: one statement.
        """
        asked = {"key_id": key_id, "valid": valid}
        entry: KeyEntry | None = await self.connection.fetch_one(provider_keys.MARK, asked)
        if entry is None:
            raise NotFound(f"there is no provider key {key_id}")
        return entry

    # Both

    async def get(self, key_id: int) -> KeyEntry:
        """Return what there is to tell of a key.

        Raises: NotFound.
        Cost: one read by the primary key.
        """
        entry: KeyEntry | None = await self.connection.fetch_one(access_keys.FIND, {"key_id": key_id})
        if entry is None:
            raise NotFound(f"there is no API key {key_id}")
        return entry

    async def list(
        self,
        user_id: int,
        *,
        kind: ApiKeyKind | str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[KeyEntry]:
        """Return a user's keys, newest first: all, or those of one kind.

        Cost: one read by ix_api_keys__user_id.
        """
        limit = capped(limit, self.most)
        listing = f"api_keys:{whole_number(user_id, 'user_id')}:{brief(kind)}"
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        if kind is not None:
            values["kind"] = kind
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_keys.c.id])
        plan = _list_plan(of_kind=kind is not None, after=after is not None)
        return page_of(await self.connection.fetch_all(plan, values), limit, listing, ["id"])


def _proof(plaintext: str) -> dict[str, str]:
    return {"digest": digest_of(plaintext), "prefix": prefix_of(plaintext)}


def _filled(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{what} is text that is not blank")
    return value


def _in_the_future(given: datetime | None, now: datetime) -> datetime | None:
    if given is None:
        return None
    ends = moment(given, "expires_at")
    if ends <= now:
        raise BadInput(f"a key ends at a moment in the future, not at {ends}")
    return ends
