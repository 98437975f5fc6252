"""Refreshing: one asks the provider, in all processes; who comes too late changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database, connect
from agentdb.errors import BadInput, StaleVersion
from agentdb.integration.connections import Connections
from agentdb.integration.models import ConnectionStatus, IntegrationEventType
from agentdb.integration.records import Tokens
from agentdb.testing.factories import make_user
from tests.integration.connecting import ACCESS, KEY, NOON, REFRESH, Provider, connected, refuses, tokens


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": KEY}


class Counting:
    """A connection that tells when it has answered so many scripts."""

    def __init__(self, behind: Any, many: int) -> None:
        self.behind = behind
        self.left = many
        self.done = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)

    async def run(self, work: Any) -> Any:
        answer = await self.behind.run(work)
        self.left -= 1
        if not self.left:
            self.done.set()
        return answer


async def test_of_many_who_refresh_one_asks_the_provider(db: Database) -> None:
    made = await connected(db, minutes=0.5)
    provider = Provider()

    answers = await asyncio.gather(*(db.integration.connections.refresh(made.id, provider) for _ in range(12)))

    assert provider.asked == [f"{REFRESH} 0"]
    assert {answer.token_version for answer in answers} == {2}
    assert (await db.integration.connections.reveal(made.id, by=None)).access_token == f"{ACCESS} 1"
    kinds = [event.event_type for event in (await db.integration.events.latest(integration_id=made.id)).items]
    assert kinds == [IntegrationEventType.refreshed, IntegrationEventType.connected]


async def test_of_many_one_asks_though_the_tokens_last_for_less_than_the_margin(db: Database) -> None:
    made, answers = await connected(db, minutes=0.5), asyncio.Event()
    counting, provider = Counting(db.integration.connections.connection, 4), Provider(waits=answers)
    connections: Any = Connections(counting, most=10)
    many = [asyncio.ensure_future(connections.refresh(made.id, provider, margin_seconds=86_400)) for _ in range(4)]
    await counting.done.wait()  # one asks the provider, and the others wait for it

    answers.set()

    assert {answer.token_version for answer in await asyncio.gather(*many)} == {2}
    assert provider.asked == [f"{REFRESH} 0"]
    assert (await connections.refresh(made.id, provider, margin_seconds=86_400)).token_version == 3


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


async def test_who_connects_again_wins_against_who_is_refreshing(db: Database) -> None:
    made = await connected(db, minutes=0.5)
    hold = asyncio.Event()
    task = asyncio.ensure_future(db.integration.connections.refresh(made.id, (provider := Provider(waits=hold))))
    await provider.entered.wait()

    await db.integration.connections.connect(made.user_id, "gmail", tokens(7))
    hold.set()

    with pytest.raises(StaleVersion):
        await task
    assert (await db.integration.connections.reveal(made.id, by=None)).access_token == f"{ACCESS} 7"


async def test_who_fails_to_refresh_does_not_take_an_error_back(db: Database) -> None:
    made = await connected(db, minutes=0.5)
    hold, entered = asyncio.Event(), asyncio.Event()

    async def refuses_late(_refresh_token: str) -> Tokens:
        entered.set()
        await hold.wait()
        raise RuntimeError

    task = asyncio.ensure_future(db.integration.connections.refresh(made.id, refuses_late))
    await entered.wait()
    await db.integration.connections.fail(made.id, "the account is locked")
    hold.set()

    with pytest.raises(RuntimeError):
        await task
    assert (await db.integration.connections.get(made.id)).status is ConnectionStatus.error


async def test_what_the_provider_gave_is_stored_though_the_caller_is_cancelled(db: Database) -> None:
    made = await connected(db, minutes=0.5)

    async def cancels(_refresh_token: str) -> Tokens:
        task.cancel()
        return tokens(5)

    task = asyncio.ensure_future(db.integration.connections.refresh(made.id, cancels))

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await db.integration.connections.reveal(made.id, by=None)).access_token == f"{ACCESS} 5"


async def test_an_answer_that_is_none_lets_the_next_one_try(db: Database) -> None:
    made = await connected(db, minutes=0.5)

    async def nonsense(_refresh_token: str) -> Any:
        return {"access_token": "x"}

    with pytest.raises(BadInput):
        await db.integration.connections.refresh(made.id, nonsense)
    assert (await db.integration.connections.refresh(made.id, Provider())).token_version == 2


async def test_who_takes_longer_than_the_lease_is_stopped(db: Database) -> None:
    made = await connected(db, minutes=0.5)

    with pytest.raises(TimeoutError):
        await db.integration.connections.refresh(made.id, Provider(waits=asyncio.Event()), lease_seconds=0.05)
    assert (await db.integration.connections.refresh(made.id, Provider())).token_version == 2


_REFRESHER = """
import asyncio, sys, agentdb
from datetime import UTC, datetime, timedelta
from agentdb.integration.records import Tokens

async def fetch(refresh_token):
    with open(sys.argv[3], "a") as asked:
        asked.write("asked\\n")
    await asyncio.sleep(float(sys.argv[4]))
    return Tokens("new", "newer", datetime.now(UTC) + timedelta(hours=1))

async def main():
    async with agentdb.connect(sys.argv[1], migrate="never") as db:
        entry = await db.integration.connections.refresh(int(sys.argv[2]), fetch, lease_seconds=float(sys.argv[5]))
        print(entry.token_version)

asyncio.run(main())
"""


@pytest.fixture
def refresher(migrated_url: str, tmp_path: Path) -> Callable[..., Awaitable[asyncio.subprocess.Process]]:
    """Return what starts a process that refreshes a connection; its provider notes that it was asked."""
    environment = {**os.environ, "AGENTDB_ENCRYPTION_KEYS": KEY, "AGENTDB_FOLDER": str(tmp_path)}

    async def begin(connection_id: int, *, takes: float, lease: float) -> asyncio.subprocess.Process:
        given = [migrated_url, str(connection_id), str(tmp_path / "asked"), str(takes), str(lease)]
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", _REFRESHER, *given, env=environment, stdout=asyncio.subprocess.PIPE
        )

    return begin


@pytest.mark.long
async def test_two_processes_refresh_once(migrated_url: str, tmp_path: Path, refresher: Any) -> None:
    async with connect(migrated_url, folder=tmp_path, encryption_keys=KEY) as db:
        user = await make_user(db)
        made = await db.integration.connections.connect(user.id, "gmail", tokens(minutes=0.5))

        processes = [await refresher(made.id, takes=0.5, lease=60) for _ in range(2)]
        told = [(await process.communicate())[0] for process in processes]

        assert told == [b"2\n", b"2\n"]
        assert (tmp_path / "asked").read_text() == "asked\n"
        assert (await db.integration.connections.reveal(made.id, by=None)).access_token == "new"


@pytest.mark.long
async def test_a_process_that_is_killed_while_it_refreshes_is_succeeded(
    migrated_url: str, tmp_path: Path, refresher: Any
) -> None:
    async with connect(migrated_url, folder=tmp_path, encryption_keys=KEY) as db:
        user = await make_user(db)
        made = await db.integration.connections.connect(user.id, "gmail", tokens(minutes=0.5))
        victim = await refresher(made.id, takes=600, lease=3)
        while not (tmp_path / "asked").exists():
            assert victim.returncode is None
            await asyncio.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()

        heir = Provider()
        refreshed = await db.integration.connections.refresh(made.id, heir)

        assert heir.asked == [f"{REFRESH} 0"]
        assert refreshed.token_version == 2
