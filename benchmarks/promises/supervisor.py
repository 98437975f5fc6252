"""Finding a user by an access key: the bare driver does the same query, and makes the same values of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import asyncpg

from agentdb.supervisor.key_records import Caller
from agentdb.supervisor.models import UserKind
from agentdb.testing.factories import make_user
from benchmarks.adapter import Place
from benchmarks.promises.measuring import Act, Promise, Stage, alternate, rate, ratio

OF_BARE: Final = 0.6

_BY_DIGEST: Final = """
SELECT k.id, k.name, u.id, u.uuid, u.username, u.kind, k.scopes, k.expires_at
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.digest = {0} AND k.is_active AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > {1})
  AND u.status = 'active'
"""


async def keep(stage: Stage) -> list[Promise]:
    """Find a user by a key, one call after another."""
    user = await make_user(stage.database)
    keys = stage.database.supervisor.api_keys
    issued = await keys.issue(user.id, "benchmark", by=None)
    async with _bare(stage.place, issued.plaintext) as bare:
        assert await bare() == await keys.authenticate(issued.plaintext)
        sides = {
            "bare": lambda: rate(bare, stage.seconds),
            "ours": lambda: rate(lambda: keys.authenticate(issued.plaintext), stage.seconds),
        }
        reached = ratio(await alternate(sides, stage.rounds), "ours", "bare")
    told = f"{reached:.2f} of the bare driver, at least {OF_BARE}"
    return [Promise("a user by access key, 1 task", told, reached >= OF_BARE)]


@asynccontextmanager
async def _bare(place: Place, plaintext: str) -> AsyncIterator[Act]:
    if place.path is not None:
        file = sqlite3.connect(place.path)
        text = _BY_DIGEST.format("?", "?")

        async def read() -> Caller:
            digest = sha256(plaintext.encode()).hexdigest()
            now = datetime.now(UTC).isoformat(timespec="microseconds")
            row = file.execute(text, (digest, now)).fetchone()
            ends = None if row[7] is None else datetime.fromisoformat(row[7])
            return Caller(row[0], row[1], row[2], UUID(row[3]), row[4], UserKind(row[5]), json.loads(row[6]), ends)

        try:
            yield read
        finally:
            file.close()
        return
    connection = await asyncpg.connect(**place.server)
    asked = _BY_DIGEST.format("$1", "$2")

    async def fetch() -> Caller:
        digest = sha256(plaintext.encode()).hexdigest()
        row: Any = await connection.fetchrow(asked, digest, datetime.now(UTC))
        return Caller(row[0], row[1], row[2], row[3], row[4], UserKind(row[5]), json.loads(row[6]), row[7])

    try:
        yield fetch
    finally:
        await connection.close()
