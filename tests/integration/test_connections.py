"""Connections: their tokens, what may follow what, and the one who refreshes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from agentdb import clock
from agentdb.database import Database, connect
from agentdb.errors import BadInput, BadSettings, Conflict, InvalidTransition, MissingReference, NotFound
from agentdb.integration.models import ConnectionStatus, IntegrationEventType
from agentdb.integration.records import ConnectionEntry, Tokens
from agentdb.testing.factories import make_user
from tests.integration.connecting import ACCESS, KEY, NOON, REFRESH, Provider, connected, refuses, tokens


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": KEY}


async def test_an_account_is_connected_used_and_disconnected(db: Database) -> None:
    user = await make_user(db)
    connections = db.integration.connections

    pending = await connections.begin(user.id, "gmail", account_id="a@x", scopes=["mail.read"], metadata={"n": 1})
    made = await connections.connect(user.id, "gmail", tokens(), account_id="a@x")
    revealed = await connections.reveal(made.id, by=user.id)
    gone = await connections.disconnect(made.id)

    assert (pending.status, pending.has_access_token) == (ConnectionStatus.pending, False)
    assert (made.id, made.uuid, made.metadata) == (pending.id, pending.uuid, {"n": 1})
    assert (made.status, made.token_version, made.scopes) == (ConnectionStatus.connected, 1, ("mail.read",))
    assert (revealed.access_token, revealed.refresh_token) == (f"{ACCESS} 0", f"{REFRESH} 0")
    assert (gone.has_access_token, gone.has_refresh_token, gone.expires_at) == (False, False, None)
    kinds = [event.event_type for event in (await db.integration.events.latest(integration_id=made.id)).items]
    assert kinds == [IntegrationEventType.disconnected, IntegrationEventType.connected]
    (read,) = (await db.supervisor.audit.between(limit=10, entity="integration_connections")).items
    assert (read.action, read.actor_user_id, read.entity_id) == ("read", user.id, str(made.id))


async def test_what_is_not_connected_is_not_used(db: Database) -> None:
    made = await connected(db)
    connections = db.integration.connections
    await connections.disconnect(made.id)

    for call in (
        connections.reveal(made.id, by=None),
        connections.disconnect(made.id),
        connections.fail(made.id, "no"),
        connections.refresh(made.id, Provider()),
        db.integration.events.record_use(made.id, "send"),
    ):
        with pytest.raises(InvalidTransition):
            await call
    again = await connections.connect(made.user_id, "gmail", tokens(1))
    assert (again.id, again.status) == (made.id, ConnectionStatus.connected)


async def test_connecting_at_once_makes_one_connection(db: Database) -> None:
    user = await make_user(db)

    made = await asyncio.gather(*(db.integration.connections.connect(user.id, "gmail", tokens(n)) for n in range(8)))

    assert len({one.id for one in made}) == 1
    stored = await db.integration.connections.get(made[0].id)
    assert stored.token_version == 8
    revealed = await db.integration.connections.reveal(stored.id, by=None)
    assert revealed.access_token.removeprefix(ACCESS) == (revealed.refresh_token or "").removeprefix(REFRESH)


async def test_what_ended_and_cannot_be_refreshed_expires(db: Database) -> None:
    with clock.hold(NOON) as hand:
        over = [await connected(db, minutes=1, refresh=False) for _ in range(3)]
        good = [await connected(db, minutes=1), await connected(db, minutes=None, refresh=False)]
        hand.forward(timedelta(minutes=2))
        connections = db.integration.connections

        assert await connections.expire(limit=2) == 2
        assert await connections.expire() == 1
        assert await connections.expire() == 0

        for one in over:
            (told,) = (await db.integration.events.latest(integration_id=one.id, types=["error"])).items
            assert (told.error_code, told.occurred_at) == ("expired", NOON + timedelta(minutes=2))
        assert {(await connections.get(one.id)).status for one in over} == {ConnectionStatus.expired}
        assert {(await connections.get(one.id)).status for one in good} == {ConnectionStatus.connected}
        with pytest.raises(InvalidTransition, match="connect it again"):
            await connections.refresh(over[0].id, Provider())


async def test_a_unit_is_not_kept_open_while_a_provider_is_asked(db: Database) -> None:
    made = await connected(db)

    async with db.write() as unit:
        with pytest.raises(BadInput, match="a unit stays short"):
            await unit.integration.connections.refresh(made.id, Provider())


async def test_anothers_connection_is_missing(db: Database) -> None:
    made, stranger = await connected(db), (await make_user(db)).id
    connections = db.integration.connections
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: connections.get(made.id, user_id=stranger),
        lambda: connections.reveal(made.id, by=None, user_id=stranger),
        lambda: connections.refresh(made.id, Provider(), seen=1, user_id=stranger),
        lambda: connections.disconnect(made.id, user_id=stranger),
        lambda: connections.fail(made.id, "no", user_id=stranger),
        lambda: connections.remove(made.id, user_id=stranger),
        lambda: db.integration.events.record_use(made.id, "send", user_id=stranger),
    ]

    for call in calls:
        with pytest.raises(NotFound):
            await call()
    assert [one.id for one in (await connections.of_user(made.user_id)).items] == [made.id]
    assert (await connections.of_user(stranger)).items == []


async def test_a_connection_goes_with_its_events_and_a_user_with_the_connections(db: Database) -> None:
    first, second = await connected(db), await connected(db)

    await db.integration.connections.remove(first.id)
    await db.supervisor.users.remove(second.user_id)

    assert await db.integration.events.count() == 0
    for gone in (first, second):
        with pytest.raises(NotFound):
            await db.integration.connections.get(gone.id)


async def test_neither_entries_nor_tokens_show_a_secret_and_none_is_stored_plainly(db: Database) -> None:
    made = await connected(db)
    revealed = await db.integration.connections.reveal(made.id, by=None)

    assert "canary" not in f"{made!r} {revealed!r}"
    async with db.read() as unit:
        rows = (await unit.session.execute(text("SELECT * FROM integration_connections"))).all()
    assert "canary" not in repr(rows)


async def test_without_keys_no_token_is_stored(tmp_path: Path) -> None:
    async with connect("sqlite://", folder=tmp_path, encryption_keys=()) as db:
        user = await make_user(db)

        with pytest.raises(BadSettings):
            await db.integration.connections.connect(user.id, "gmail", tokens())
        assert (await db.integration.connections.of_user(user.id)).items == []


async def test_what_makes_no_sense_is_refused(db: Database) -> None:
    made = await connected(db)
    connections = db.integration.connections

    with pytest.raises(Conflict):
        await connections.begin(made.user_id, "gmail")
    with pytest.raises(MissingReference):
        await connections.begin(10**9, "gmail")
    with pytest.raises(MissingReference):
        await connections.connect(10**9, "gmail", tokens())
    nonsense: list[Any] = [
        lambda: connections.connect(made.user_id, "", tokens()),
        lambda: connections.connect(made.user_id, "gmail", cast("Any", {"access_token": ACCESS})),
        lambda: connections.connect(made.user_id, "gmail", Tokens("")),
        lambda: connections.connect(made.user_id, "gmail", Tokens("a", scopes="mail")),
        lambda: connections.connect(made.user_id, "gmail", Tokens("a", expires_at=datetime(2026, 3, 9))),  # noqa: DTZ001
        lambda: connections.begin(made.user_id, "slack", scopes="mail"),
        lambda: connections.refresh(made.id, Provider(), lease_seconds=0),
        lambda: connections.refresh(made.id, Provider(), margin_seconds=float("nan")),
        lambda: db.integration.events.record_use(made.id, ""),
        lambda: db.integration.events.latest(types=["nonsense"]),
        lambda: db.integration.events.latest(types="error"),
        lambda: db.integration.events.latest(user_id=10**5_000),
        lambda: db.integration.events.tool_counts(integration_id=cast("Any", "1")),
        lambda: db.integration.events.record_use(made.id, "t", event_data=cast("Any", [1])),
        lambda: db.integration.events.add(user_id=made.user_id),
    ]
    for call in nonsense:
        with pytest.raises(BadInput):
            await call()


async def _standing(db: Database, status: str) -> ConnectionEntry:
    """Return a connection of a status, made as it comes to be in practice."""
    connections, user = db.integration.connections, (await make_user(db)).id
    if status == "pending":
        return await connections.begin(user, "gmail")
    made = await connections.connect(user, "gmail", tokens(minutes=-1 if status == "expired" else 60))
    if status == "disconnected":
        return await connections.disconnect(made.id)
    if status == "error":
        return await connections.fail(made.id, "no")
    if status == "expired":
        with pytest.raises(RuntimeError):
            await connections.refresh(made.id, refuses)
    return await connections.get(made.id)


CHANGES: dict[str, Callable[[Database, ConnectionEntry], Awaitable[ConnectionEntry]]] = {
    "connect": lambda db, made: db.integration.connections.connect(made.user_id, "gmail", tokens()),
    "disconnect": lambda db, made: db.integration.connections.disconnect(made.id),
    "fail": lambda db, made: db.integration.connections.fail(made.id, "no"),
    "refresh": lambda db, made: db.integration.connections.refresh(made.id, Provider(), seen=made.token_version),
}
FOLLOWS = {
    "pending": {"connect": "connected", "disconnect": "disconnected", "fail": "error"},
    "connected": {"connect": "connected", "disconnect": "disconnected", "fail": "error", "refresh": "connected"},
    "disconnected": {"connect": "connected"},
    "expired": {"connect": "connected", "disconnect": "disconnected", "refresh": "connected"},
    "error": {"connect": "connected", "disconnect": "disconnected", "fail": "error", "refresh": "connected"},
}
TELLS = {"connect": "connected", "disconnect": "disconnected", "fail": "error", "refresh": "refreshed"}


async def test_a_status_follows_only_where_it_may_and_each_change_is_told(
    db: Database, subtests: pytest.Subtests
) -> None:
    for before, change in product(FOLLOWS, CHANGES):
        with subtests.test(before=before, change=change):
            made = await _standing(db, before)
            assert made.status == before
            told = await db.integration.events.count(integration_id=made.id)

            if (after := FOLLOWS[before].get(change)) is None:
                with pytest.raises(InvalidTransition):
                    await CHANGES[change](db, made)
                assert await db.integration.events.count(integration_id=made.id) == told
            else:
                assert (await CHANGES[change](db, made)).status == after
                (latest, *rest) = (await db.integration.events.latest(integration_id=made.id)).items
                assert (latest.event_type, len(rest)) == (TELLS[change], told)
            assert (await db.integration.connections.get(made.id)).status == (after or before)
