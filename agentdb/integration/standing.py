"""The conditions and statements of connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Table, and_, bindparam, case, func, literal_column, null, or_, select, update
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.plan import Plan
from agentdb.integration.models import ConnectionStatus, IntegrationConnection

connections: Final[Table] = IntegrationConnection.__table__  # type: ignore[assignment]

THIS: Final = connections.c.id == of(connections.c.id, "connection_id")
# Of this user, where one is given.
OWN: Final = connections.c.user_id == func.coalesce(of(connections.c.user_id), connections.c.user_id)
NOW: Final = of(connections.c.last_used_at, "now")


def is_now(*statuses: ConnectionStatus) -> ColumnElement[bool]:
    """Return the condition that a connection has one of these statuses."""
    return connections.c.status.in_([literal_column(f"'{one}'", connections.c.status.type) for one in statuses])


LOCK: Final = Plan[IntegrationConnection](
    select(IntegrationConnection).where(THIS, OWN).with_for_update(key_share=True),
    name="connections: locked",
    rows=IntegrationConnection,
)
LOCK_PLACE: Final = Plan[IntegrationConnection](
    select(IntegrationConnection)
    .where(
        connections.c.user_id == of(connections.c.user_id),
        connections.c.provider == of(connections.c.provider),
        connections.c.account_id == of(connections.c.account_id),
    )
    .with_for_update(key_share=True),
    name="connections.connect: locked",
    rows=IntegrationConnection,
)


def _changing(name: str, *conditions: Any, **values: Any) -> Plan[IntegrationConnection]:
    statement = update(connections).where(THIS, *conditions).values(**values).returning(connections)
    return Plan(statement, name=f"connections.{name}", rows=IntegrationConnection)


_TOKENS: Final[Mapping[str, Any]] = {
    "status": of(connections.c.status, "to"),
    "access_token": of(connections.c.access_token, "access"),
    "refresh_token": of(connections.c.refresh_token, "refresh"),
    "expires_at": of(connections.c.expires_at, "until"),
    "token_version": connections.c.token_version + 1,
    "refreshing_until": null(),
    "refresh_turn": connections.c.refresh_turn + 1,  # whoever is refreshing comes too late
    "scopes": of(connections.c.scopes),
}
CONNECT: Final = _changing("connect", **_TOKENS, metadata=of(connections.c.metadata), connected_at=NOW)
MOVE: Final = _changing("move", status=of(connections.c.status, "to"))
FORGET: Final = _changing(
    "disconnect",
    status=of(connections.c.status, "to"),
    access_token=null(),
    refresh_token=null(),
    expires_at=null(),
    refreshing_until=null(),
    refresh_turn=connections.c.refresh_turn + 1,  # whoever is refreshing comes too late
)
USED: Final = _changing("used", is_now(ConnectionStatus.connected), last_used_at=NOW)
# Due: about to expire, or the caller met a provider who does not take it any more, and nobody replaced it since. A
# token that came while the caller waited for it is as good as any, however soon it expires.
_DUE: Final = or_(
    and_(
        connections.c.expires_at <= of(connections.c.expires_at, "due_before"),
        connections.c.token_version
        == func.coalesce(of(connections.c.token_version, "waited"), connections.c.token_version),
    ),
    connections.c.expires_at <= NOW,
    connections.c.status != literal_column("'connected'", connections.c.status.type),
    connections.c.token_version == of(connections.c.token_version, "seen"),
)
TAKE_TURN: Final = _changing(
    "refresh: turn",
    OWN,
    connections.c.refresh_token.is_not(None),
    is_now(ConnectionStatus.connected, ConnectionStatus.expired, ConnectionStatus.error),
    _DUE,
    or_(connections.c.refreshing_until.is_(None), connections.c.refreshing_until <= NOW),
    refreshing_until=of(connections.c.refreshing_until, "lease_until"),
    refresh_turn=connections.c.refresh_turn + 1,
)
_MY_TURN: Final = connections.c.refresh_turn == of(connections.c.refresh_turn, "turn")
STORE: Final = _changing("refresh: store", _MY_TURN, **_TOKENS)
LET_GO: Final = _changing("refresh: let go", _MY_TURN, refreshing_until=null())
GIVE_UP: Final = _changing(
    "refresh: give up",
    _MY_TURN,
    refreshing_until=null(),
    # A token that is still good may be used on.
    status=case(
        (and_(is_now(ConnectionStatus.connected), connections.c.expires_at <= NOW), of(connections.c.status, "to")),
        else_=connections.c.status,
    ),
)
_over: Final = (
    select(connections.c.id)
    .where(
        is_now(ConnectionStatus.connected),
        connections.c.expires_at <= NOW,
        connections.c.refresh_token.is_(None),
    )
    .order_by(connections.c.expires_at, connections.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True, key_share=True)
    .cte("over")
)
EXPIRE: Final = Plan[IntegrationConnection](
    update(connections)
    .where(connections.c.id.in_(select(_over.c.id)))
    .values(status=of(connections.c.status, "to"))
    .returning(connections),
    name="connections.expire",
    rows=IntegrationConnection,
)
PRESENT: Final = Plan[IntegrationConnection](
    select(IntegrationConnection).where(THIS, OWN), name="connections: present", rows=IntegrationConnection
)
