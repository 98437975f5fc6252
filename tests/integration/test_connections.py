"""Connections: their tokens, what may follow what, and the one who refreshes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from agentdb import clock
from agentdb.database import Database, connect
from agentdb.errors import BadInput, BadSettings, Conflict, InvalidTransition, MissingReference, NotFound, StaleVersion
from agentdb.integration.models import ConnectionStatus, IntegrationEventType
from agentdb.integration.records import ConnectionEntry, Tokens
from agentdb.testing.factories import make_user
from tests.canaries import canary

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
KEY = "8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96"
ACCESS, REFRESH = canary("access token"), canary("refresh token")


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": KEY}


def tokens(number: int = 0, *, minutes: float | None = 60, refresh: bool = True) -> Tokens:
    ends = None if minutes is None else clock.now() + timedelta(minutes=minutes)
    return Tokens(f"{ACCESS} {number}", f"{REFRESH} {number}" if refresh else None, ends, ["mail.read"])


async def connected(db: Database, **given: Any) -> ConnectionEntry:
    user = await make_user(db)
    return await db.integration.connections.connect(user.id, "gmail", tokens(**given))


class Provider:
    """Gives tokens, one after another, and counts."""

    def __init__(self, *, waits: asyncio.Event | None = None) -> None:
        self.asked: list[str] = []
        self.entered = asyncio.Event()
        self._waits = waits

    async def __call__(self, refresh_token: str) -> Tokens:
        self.asked.append(refresh_token)
        self.entered.set()
        if self._waits is not None:
            await self._waits.wait()
        return tokens(len(self.asked))


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


async def test_of_many_who_refresh_one_asks_the_provider(db: Database) -> None:
    made = await connected(db, minutes=0.5)
    provider = Provider()

    answers = await asyncio.gather(*(db.integration.connections.refresh(made.id, provider) for _ in range(12)))

    assert provider.asked == [f"{REFRESH} 0"]
    assert {answer.token_version for answer in answers} == {2}
    assert (await db.integration.connections.reveal(made.id, by=None)).access_token == f"{ACCESS} 1"
    kinds = [event.event_type for event in (await db.integration.events.latest(integration_id=made.id)).items]
    assert kinds == [IntegrationEventType.refreshed, IntegrationEventType.connected]


async def test_a_token_that_is_good_is_not_refreshed_unless_the_provider_refused_that_one(db: Database) -> None:
    made = await connected(db)
    connections, provider = db.integration.connections, Provider()

    assert (await connections.refresh(made.id, provider)).token_version == 1
    assert (await connections.refresh(made.id, provider, seen=1)).token_version == 2
    assert (await connections.refresh(made.id, provider, seen=1)).token_version == 2
    assert len(provider.asked) == 1


async def test_whoever_dies_while_refreshing_is_succeeded_when_the_lease_ends(db: Database) -> None:
    with clock.hold(NOON) as hand:
        made = await connected(db, minutes=0.5)
        never = asyncio.Event()
        dead, heir = Provider(waits=never), Provider()
        connections = db.integration.connections
        late = asyncio.ensure_future(connections.refresh(made.id, dead, lease_seconds=60))
        await dead.entered.wait()
        hand.forward(timedelta(seconds=61))

        refreshed = await connections.refresh(made.id, heir)
        never.set()  # the first one lives after all, and comes too late

        with pytest.raises(StaleVersion):
            await late
        assert len(heir.asked) == 1
        assert (await connections.get(made.id)).token_version == refreshed.token_version == 2


async def test_whoever_is_cancelled_lets_the_next_one_try_at_once(db: Database) -> None:
    with clock.hold(NOON):
        made = await connected(db, minutes=0.5)
        stuck, heir = Provider(waits=asyncio.Event()), Provider()
        task = asyncio.ensure_future(db.integration.connections.refresh(made.id, stuck))
        await stuck.entered.wait()

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (await db.integration.connections.refresh(made.id, heir)).token_version == 2


async def test_who_disconnects_wins_against_who_is_refreshing(db: Database) -> None:
    made = await connected(db, minutes=0.5)
    hold = asyncio.Event()
    provider = Provider(waits=hold)
    task = asyncio.ensure_future(db.integration.connections.refresh(made.id, provider))
    await provider.entered.wait()

    await db.integration.connections.disconnect(made.id)
    hold.set()

    with pytest.raises(StaleVersion):
        await task
    after = await db.integration.connections.get(made.id)
    assert (after.status, after.has_access_token) == (ConnectionStatus.disconnected, False)


async def test_a_provider_that_fails_is_told_without_what_it_said(db: Database) -> None:
    with clock.hold(NOON) as hand:
        made = await connected(db, minutes=0.5)

        async def refuses(refresh_token: str) -> Tokens:
            raise RuntimeError(f"bad token {refresh_token}")

        with pytest.raises(RuntimeError):
            await db.integration.connections.refresh(made.id, refuses)
        still = await db.integration.connections.get(made.id)
        hand.forward(timedelta(minutes=1))
        with pytest.raises(RuntimeError):
            await db.integration.connections.refresh(made.id, refuses)

        (first, *_) = (await db.integration.events.latest(integration_id=made.id, types=["error"])).items
        assert first.error_message == "refreshing failed: RuntimeError"
        assert still.status is ConnectionStatus.connected  # the token is good for half a minute
        assert (await db.integration.connections.get(made.id)).status is ConnectionStatus.expired
        assert (await db.integration.connections.refresh(made.id, Provider())).status is ConnectionStatus.connected


async def test_what_ended_and_cannot_be_refreshed_expires(db: Database) -> None:
    with clock.hold(NOON) as hand:
        over = [await connected(db, minutes=1, refresh=False) for _ in range(3)]
        good = [await connected(db, minutes=1), await connected(db, minutes=None, refresh=False)]
        hand.forward(timedelta(minutes=2))
        connections = db.integration.connections

        assert await connections.expire(limit=2) == 2
        assert await connections.expire() == 1
        assert await connections.expire() == 0

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
        lambda: connections.refresh(made.id, Provider(), lease_seconds=0),
        lambda: connections.refresh(made.id, Provider(), margin_seconds=float("nan")),
        lambda: db.integration.events.record_use(made.id, ""),
        lambda: db.integration.events.latest(types=["nonsense"]),
        lambda: db.integration.events.latest(types="error"),
        lambda: db.integration.events.add(user_id=made.user_id),
    ]
    for call in nonsense:
        with pytest.raises(BadInput):
            await call()


_REFRESHER = """
import asyncio, sys, agentdb
from datetime import UTC, datetime, timedelta
from agentdb.integration.records import Tokens

async def fetch(refresh_token):
    with open(sys.argv[3], "a") as asked:
        asked.write("asked\\n")
    await asyncio.sleep(0.5)
    return Tokens("new", "newer", datetime.now(UTC) + timedelta(hours=1))

async def main():
    async with agentdb.connect(sys.argv[1], migrate="never") as db:
        entry = await db.integration.connections.refresh(int(sys.argv[2]), fetch)
        print(entry.token_version)

asyncio.run(main())
"""


async def test_two_processes_refresh_once(database_url: str, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    environment = {**os.environ, "AGENTDB_ENCRYPTION_KEYS": KEY, "AGENTDB_FOLDER": str(tmp_path)}
    async with connect(database_url, folder=tmp_path, encryption_keys=KEY) as db:
        user = await make_user(db)
        made = await db.integration.connections.connect(user.id, "gmail", tokens(minutes=0.5))

        arguments = [sys.executable, "-c", _REFRESHER, database_url, str(made.id), str(asked)]
        processes = [
            await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=asyncio.subprocess.PIPE)
            for _ in range(2)
        ]
        told = [(await process.communicate())[0] for process in processes]

        assert told == [b"2\n", b"2\n"]
        assert asked.read_text() == "asked\n"
        assert (await db.integration.connections.reveal(made.id, by=None)).access_token == "new"
