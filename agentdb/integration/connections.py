"""Connections: a user's accounts elsewhere, and the tokens they are used with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, select

from agentdb.criteria import beyond, delete_plan
from agentdb.engine.asked import lasting, members
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound
from agentdb.integration.changing import connected, disconnected, expired, failed, found, revealed
from agentdb.integration.models import IntegrationConnection
from agentdb.integration.records import ConnectionEntry, Tokens, names
from agentdb.integration.refreshing import Fetch, Refresh, checked
from agentdb.integration.standing import OWN, PRESENT, THIS
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of
from agentdb.types import uuid7

LEASE_SECONDS: Final = 60.0
MARGIN_SECONDS: Final = 60.0

_connections: Final[Table] = IntegrationConnection.__table__  # type: ignore[assignment]


def _list_plan(*, after: bool) -> Plan[IntegrationConnection]:
    statement = select(IntegrationConnection).where(_connections.c.user_id == of(_connections.c.user_id))
    if after:
        statement = statement.where(beyond([_connections.c.id], newest_first=False))
    statement = statement.order_by(_connections.c.id).limit(bindparam("limit"))
    return Plan(statement, name="connections.of_user", rows=IntegrationConnection)


_LIST: Final = {after: _list_plan(after=after) for after in (False, True)}
_OWNED: Final = Plan[int](select(_connections.c.id).where(THIS, OWN), name="connections.remove: owned")


class Connections:
    """Users' accounts elsewhere. Tokens are stored sealed, and only `reveal` and `refresh` open them.

    Wherever ``user_id`` is given to find one, somebody else's is NotFound. What happens to a connection is an event of
    it, stored in the same transaction.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
        in_unit: whether ``connection`` is a transaction.
    """

    def __init__(self, connection: Connection, *, most: int, in_unit: bool = False) -> None:
        self.connection = connection
        self.most = most
        self._in_unit = in_unit

    async def begin(
        self,
        user_id: int,
        provider: str,
        *,
        account_id: str = "",
        scopes: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> ConnectionEntry:
        """Begin to connect an account, pending until the provider has said yes, and return the connection.

        Raises: Conflict when the user's account is there already; MissingReference for an unknown user; BadInput.
        Cost: one insert.
        """
        values = {**_place(user_id, provider, account_id), "uuid": uuid7(), "scopes": names(scopes)}
        row: IntegrationConnection | None = await self.connection.fetch_one(
            insert_one(IntegrationConnection), {**values, "metadata": _object(metadata)}
        )
        return _entry(found(row, 0))

    async def connect(
        self,
        user_id: int,
        provider: str,
        tokens: Tokens,
        *,
        account_id: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> ConnectionEntry:
        """Connect an account, for the first time or again, and return the connection.

        Args:
            user_id: whose.
            provider: where.
            tokens: what the provider gave; they take the place of any that are there.
            account_id: which of the user's accounts there.
            metadata: whatever is to be known of it; None: as before.

        Raises: MissingReference for an unknown user; BadSettings when there is no key to seal with; BadInput.
        Cost: one transaction of three or four statements.
        """
        kept = None if metadata is None else _object(metadata)
        place, keyring = _place(user_id, provider, account_id), self.connection.keyring
        work = partial(connected, place, checked(tokens), kept, keyring, self.connection.now())
        return _entry(await self.connection.run(work))

    async def disconnect(self, connection_id: int, *, user_id: int | None = None) -> ConnectionEntry:
        """Disconnect an account and forget its tokens; its events stay, and `connect` connects it again.

        Raises: NotFound; InvalidTransition when it is disconnected.
        Cost: one transaction of three statements.
        """
        return _entry(await self.connection.run(partial(disconnected, connection_id, user_id, self.connection.now())))

    async def fail(
        self, connection_id: int, message: str, *, code: str | None = None, user_id: int | None = None
    ) -> ConnectionEntry:
        """Tell that a connection does not work; `connect` and `refresh` mend it.

        Raises: NotFound; InvalidTransition when it has expired or is disconnected; BadInput.
        Cost: one transaction of three statements.
        """
        work = partial(failed, connection_id, user_id, self.connection.now(), message, code)
        return _entry(await self.connection.run(work))

    async def reveal(self, connection_id: int, *, by: int | None, user_id: int | None = None) -> Tokens:
        """Return the tokens of a connection to use them; the audit log tells who read them, and when.

        Args: by: the user who reads them; None: the system.
        Raises: NotFound; InvalidTransition when it is not connected; DecryptionFailed.
        Cost: one transaction of three statements.
        """
        work = partial(revealed, connection_id, user_id, self.connection.keyring, by, self.connection.now())
        return await self.connection.run(work)

    async def refresh(
        self,
        connection_id: int,
        fetch: Fetch,
        *,
        seen: int | None = None,
        margin_seconds: float = MARGIN_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        user_id: int | None = None,
    ) -> ConnectionEntry:
        """Return the connection when its tokens are good: refreshed by this call, or by another meanwhile.

        However many ask at once, in whichever process, one asks the provider and the others wait. No transaction is
        open while it does. When ``fetch`` raises, that is an event, others may try, and the caller gets the error.

        Args:
            connection_id: which.
            fetch: ``async def fetch(refresh_token) -> Tokens``.
            seen: the ``token_version`` that the provider did not take any more; by default only the time tells.
            margin_seconds: how long before its end a token is replaced.
            lease_seconds: how long ``fetch`` may take; then it is cancelled, and others may.
            user_id: whose.

        Raises: NotFound; InvalidTransition for one that is pending or disconnected, or has no refresh token when it
            needs one; StaleVersion when the answer came too late; BadInput in a unit; TimeoutError; as ``fetch``.
        Cost: two transactions; one when there is nothing to do.
        """
        if self._in_unit:
            raise BadInput("a unit stays short: refresh before it, on the database itself")
        lease, margin = lasting(lease_seconds, "lease_seconds"), lasting(margin_seconds, "margin_seconds")
        wish = Refresh(self.connection, connection_id, user_id, fetch, lease, margin, seen)
        return _entry(await wish.run())

    async def expire(self, *, limit: int = 1_000) -> int:
        """Mark connections expired whose token has ended and cannot be refreshed, and return how many.

        Args: limit: how many at most; call it until it returns 0.
        Cost: one transaction of a statement, by ix_integration_connections__due, and one for each event.
        """
        return await self.connection.run(partial(expired, capped(limit, self.most), self.connection.now()))

    async def get(self, connection_id: int, *, user_id: int | None = None) -> ConnectionEntry:
        """Return a connection.

        Raises: NotFound.
        Cost: one read by the primary key.
        """
        row = await self.connection.fetch_one(PRESENT, {"connection_id": connection_id, "user_id": user_id})
        return _entry(found(row, connection_id))

    async def of_user(self, user_id: int, *, limit: int = 50, after: str | None = None) -> Page[ConnectionEntry]:
        """Return a user's connections, the first to be made first.

        Cost: one read by uq_integration_connections__user_id_provider_account_id.
        """
        limit, listing = capped(limit, self.most), f"connections:{user_id}"
        values: dict[str, Any] = {"user_id": user_id, "limit": limit + 1}
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_connections.c.id])
        page = page_of(await self.connection.fetch_all(_LIST[after is not None], values), limit, listing, ["id"])
        return Page([_entry(row) for row in page.items], page.next)

    async def remove(self, connection_id: int, *, user_id: int | None = None) -> None:
        """Remove a connection with its tokens and events.

        Raises: NotFound.
        """
        if user_id is not None:
            owned = await self.connection.fetch_one(_OWNED, {"connection_id": connection_id, "user_id": user_id})
            if owned is None:
                raise NotFound(f"there is no connection {connection_id}")
        if not await self.connection.execute(delete_plan(IntegrationConnection), {"id": connection_id}):
            raise NotFound(f"there is no connection {connection_id}")


def _place(user_id: int, provider: Any, account_id: Any) -> dict[str, Any]:
    if not isinstance(provider, str) or not provider.strip():
        raise BadInput("a provider is named by a text that is not empty")
    return {"user_id": user_id, "provider": provider, "account_id": account_id}


def _object(value: Any) -> dict[str, Any]:
    return members(value, "metadata")


def _entry(row: IntegrationConnection) -> ConnectionEntry:
    return ConnectionEntry(
        id=row.id,
        uuid=row.uuid,
        user_id=row.user_id,
        provider=row.provider,
        account_id=row.account_id,
        status=row.status,
        scopes=tuple(row.scopes),
        metadata=row.metadata_,
        has_access_token=row.access_token is not None,
        has_refresh_token=row.refresh_token is not None,
        expires_at=row.expires_at,
        token_version=row.token_version,
        connected_at=row.connected_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
