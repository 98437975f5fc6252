"""Accounts to connect in tests, and a provider that counts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from agentdb import clock
from agentdb.database import Database
from agentdb.integration.records import ConnectionEntry, Tokens
from agentdb.testing.factories import make_user
from tests.canaries import canary

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
KEY = "8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96"
ACCESS, REFRESH = canary("access token"), canary("refresh token")


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


async def refuses(refresh_token: str) -> Tokens:
    raise RuntimeError(f"bad token {refresh_token}")
