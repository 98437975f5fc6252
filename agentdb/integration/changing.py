"""How connections change: each within a script, with the event that tells of it in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agentdb.auditing import recorded
from agentdb.engine.connection import Script, count, every, one
from agentdb.engine.statements import insert_one, insert_unless_there
from agentdb.errors import InvalidTransition, NotFound
from agentdb.integration.models import ConnectionStatus, IntegrationConnection, IntegrationEvent, IntegrationEventType
from agentdb.integration.records import Tokens
from agentdb.integration.standing import (
    CONNECT,
    EXPIRE,
    FORGET,
    GIVE_UP,
    LET_GO,
    LOCK,
    LOCK_PLACE,
    MOVE,
    PRESENT,
    STORE,
    TAKE_TURN,
    USED,
)
from agentdb.keyring import Keyring
from agentdb.types import uuid7


@dataclass(frozen=True, slots=True)
class Turn:
    """Whoever holds it asks for new tokens."""

    connection: IntegrationConnection
    number: int
    refresh_token: Any


def told(
    row: IntegrationConnection, kind: IntegrationEventType, now: datetime, **details: Any
) -> Script[IntegrationEvent]:
    """Within a script: add an event of a connection."""
    event: IntegrationEvent | None = yield from one(
        insert_one(IntegrationEvent),
        user_id=row.user_id,
        integration_id=row.id,
        event_type=kind,
        occurred_at=now,
        **details,
    )
    if event is None:
        raise NotFound("integration_events: the row was not stored; a trigger or a rule took it away")
    return event


def found(row: IntegrationConnection | None, connection_id: int) -> IntegrationConnection:
    """Return a row that is there.

    Raises: NotFound.
    """
    if row is None:
        raise NotFound(f"there is no connection {connection_id}")
    return row


def connected(
    place: Mapping[str, Any], tokens: Tokens, metadata: Mapping[str, Any] | None, keyring: Keyring, now: datetime
) -> Script[IntegrationConnection]:
    """Within a script: connect a user's account, for the first time or again."""
    row: IntegrationConnection | None = None
    while row is None:
        row = yield from one(LOCK_PLACE, **place)
        if row is None:
            # Another call may connect it at this very moment: then nothing is inserted, and it is there.
            on = ("user_id", "provider", "account_id")
            row = yield from one(insert_unless_there(IntegrationConnection, on), **place, uuid=uuid7())
    kept = row.metadata_ if metadata is None else dict(metadata)
    values = _sealed(tokens, row, keyring)
    stored = yield from one(
        CONNECT, connection_id=row.id, now=now, to=ConnectionStatus.connected, metadata=kept, **values
    )
    row = found(stored, row.id)
    yield from told(row, IntegrationEventType.connected, now)
    return row


def disconnected(connection_id: int, user_id: int | None, now: datetime) -> Script[IntegrationConnection]:
    """Within a script: forget the tokens of a connection."""
    row = found((yield from one(LOCK, connection_id=connection_id, user_id=user_id)), connection_id)
    if row.status is ConnectionStatus.disconnected:
        raise InvalidTransition(f"connection {connection_id} is disconnected already")
    row = found((yield from one(FORGET, connection_id=connection_id, to=ConnectionStatus.disconnected)), connection_id)
    yield from told(row, IntegrationEventType.disconnected, now)
    return row


def failed(
    connection_id: int, user_id: int | None, now: datetime, message: str, code: str | None
) -> Script[IntegrationConnection]:
    """Within a script: tell that a connection does not work."""
    row = found((yield from one(LOCK, connection_id=connection_id, user_id=user_id)), connection_id)
    if row.status not in (ConnectionStatus.pending, ConnectionStatus.connected, ConnectionStatus.error):
        raise InvalidTransition(f"connection {connection_id} is {row.status} and does not fail")
    row = found((yield from one(MOVE, connection_id=connection_id, to=ConnectionStatus.error)), connection_id)
    yield from told(row, IntegrationEventType.error, now, error_message=message, error_code=code)
    return row


def used(
    connection_id: int, user_id: int | None, kind: IntegrationEventType, now: datetime, details: Mapping[str, Any]
) -> Script[IntegrationEvent]:
    """Within a script: tell what happened on a connection that is connected."""
    row = found((yield from one(LOCK, connection_id=connection_id, user_id=user_id)), connection_id)
    if (yield from one(USED, connection_id=connection_id, now=now)) is None:
        raise InvalidTransition(f"connection {connection_id} is {row.status} and not connected")
    return (yield from told(row, kind, now, **details))


def revealed(
    connection_id: int, user_id: int | None, keyring: Keyring, by: int | None, now: datetime
) -> Script[Tokens]:
    """Within a script: open the tokens of a connection that is connected, and record who read them."""
    row = found((yield from one(LOCK, connection_id=connection_id, user_id=user_id)), connection_id)
    if row.status is not ConnectionStatus.connected or row.access_token is None:
        raise InvalidTransition(f"connection {connection_id} is {row.status} and has no token to use")
    tokens = Tokens(
        _opened(row, "access_token", keyring),
        None if row.refresh_token is None else _opened(row, "refresh_token", keyring),
        row.expires_at,
        tuple(row.scopes),
    )
    yield from count(USED, connection_id=connection_id, now=now)
    yield from recorded(actor_id=by, action="read", entity="integration_connections", entity_id=connection_id)
    return tokens


def turn_taken(
    connection_id: int,
    user_id: int | None,
    keyring: Keyring,
    now: datetime,
    lease: timedelta,
    margin: timedelta,
    seen: int | None,
    waited: int | None,
) -> Script[Turn | IntegrationConnection]:
    """Within a script: take the turn to refresh a connection, or give its row where it is not due, or others do it.

    Args: waited: the version of the token while others refreshed it, for whom the caller waited.
    """
    whose = {"connection_id": connection_id, "user_id": user_id}
    row = yield from one(
        TAKE_TURN,
        **whose,
        now=now,
        due_before=now + margin,
        lease_until=now + lease,
        seen=-1 if seen is None else seen,
        waited=waited,
    )
    if row is not None:
        return Turn(row, row.refresh_turn, _opened(row, "refresh_token", keyring))
    row = found((yield from one(PRESENT, **whose)), connection_id)
    if row.status in (ConnectionStatus.pending, ConnectionStatus.disconnected):
        raise InvalidTransition(f"connection {connection_id} is {row.status} and cannot be refreshed; connect it again")
    return row


def refreshed(turn: Turn, tokens: Tokens, keyring: Keyring, now: datetime) -> Script[IntegrationConnection | None]:
    """Within a script: store what the holder of a turn was given; None when the turn is somebody else's by now."""
    row = turn.connection
    values = _sealed(tokens, row, keyring)
    if tokens.refresh_token is None:
        values["refresh"] = row.refresh_token
    stored = yield from one(STORE, connection_id=row.id, turn=turn.number, to=ConnectionStatus.connected, **values)
    if stored is not None:
        yield from told(stored, IntegrationEventType.refreshed, now)
    return stored


def given_up(turn: Turn, now: datetime, message: str) -> Script[None]:
    """Within a script: tell that a turn came to nothing, and let others try; a token that is good may be used on."""
    row = yield from one(
        GIVE_UP, connection_id=turn.connection.id, turn=turn.number, to=ConnectionStatus.expired, now=now
    )
    if row is not None:
        yield from told(row, IntegrationEventType.error, now, error_message=message, error_code="refresh")


def let_go(turn: Turn) -> Script[None]:
    """Within a script: give a turn back, with nothing to tell."""
    yield from one(LET_GO, connection_id=turn.connection.id, turn=turn.number)


def expired(limit: int, now: datetime) -> Script[int]:
    """Within a script: mark connections expired that cannot be refreshed, and return how many."""
    rows = yield from every(EXPIRE, now=now, limit=limit, to=ConnectionStatus.expired)
    for row in rows:
        yield from told(
            row, IntegrationEventType.error, now, error_message="the access token has ended", error_code="expired"
        )
    return len(rows)


def _sealed(tokens: Tokens, row: IntegrationConnection, keyring: Keyring) -> dict[str, Any]:
    seal: Callable[[str, str], bytes] = lambda value, column: keyring.seal(  # noqa: E731
        value, table="integration_connections", column=column, row=row.uuid
    )
    return {
        "access": seal(tokens.access_token, "access_token"),
        "refresh": None if tokens.refresh_token is None else seal(tokens.refresh_token, "refresh_token"),
        "until": tokens.expires_at,
        "scopes": list(row.scopes if tokens.scopes is None else tokens.scopes),
    }


def _opened(row: IntegrationConnection, column: str, keyring: Keyring) -> Any:
    return keyring.open(getattr(row, column), table="integration_connections", column=column, row=row.uuid)
