"""No key, digest or secret in any log, message or representation, whatever happens to it."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from sqlalchemy import select, text

from agentdb.catalog.models import Provider
from agentdb.database import Database
from agentdb.engine.plan import Plan
from agentdb.errors import AgentDBError
from agentdb.supervisor.key_records import Issued, digest_of
from agentdb.supervisor.models import ApiKey
from agentdb.testing.factories import make_user

ENCRYPTION = hashlib.sha256(b"canary").hexdigest()
SECRET = "sk-CANARY" + hashlib.sha256(b"canary of a provider").hexdigest() + "CANARY"
MALFORMED = "adb_CANARYcanary!"


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": ENCRYPTION}


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Let everything log, however silent it was told to be."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    levels = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for logger, level in levels:
        logger.setLevel(level)


async def test_no_flow_tells_what_proves_a_key(db: Database, logged: pytest.LogCaptureFixture) -> None:
    keys = db.supervisor.api_keys
    told: list[str] = []

    async def call(work: Awaitable[Any]) -> Any:
        try:
            answer = await work
        except AgentDBError as error:
            told.extend([str(error), repr(error), *traceback.format_exception(error)])
            return None
        if not isinstance(answer, str):
            told.extend([repr(answer), str(answer)])
        return answer

    user = await make_user(db)
    async with db.write() as unit:
        provider = Provider(name="openai")
        unit.session.add(provider)
    first: Issued = await call(keys.issue(user.id, "ci", scopes=["runs"], by=user.id))
    await call(keys.issue(user.id, "ci", by=user.id))
    await call(keys.authenticate(first.plaintext))
    second: Issued = await call(keys.rotate(first.key.id, overlap_seconds=60, by=user.id))
    await call(keys.rotate(first.key.id, by=user.id))
    await call(keys.authenticate(MALFORMED))
    await call(keys.revoke(first.key.id, by=user.id))
    await call(keys.authenticate(first.plaintext))
    await call(keys.uses.flush())
    stored = await call(keys.store_provider_key(user.id, provider.id, "main", SECRET, by=user.id))
    other = await call(keys.store_provider_key(user.id, provider.id, "other", SECRET[::-1], by=user.id))
    await call(keys.store_provider_key(10**9, provider.id, "main", SECRET, by=user.id))
    await call(keys.store_provider_key(user.id, provider.id, "main", SECRET + "\ud800", by=user.id))
    assert await call(keys.reveal(stored.id, by=user.id)) == SECRET
    async with db.write() as unit:
        swap = "UPDATE api_keys SET secret = (SELECT secret FROM api_keys WHERE id = :one) WHERE id = :other"
        await unit.session.execute(text(swap), {"one": stored.id, "other": other.id})
    await call(keys.reveal(other.id, by=user.id))
    await call(keys.list(user.id))
    await call(db.supervisor.permissions.grant(user.id, "supervisor_admin", by=user.id))
    await call(db.supervisor.permissions.revoke(user.id, "supervisor_admin", by=user.id))
    entries = (await db.supervisor.audit.between(limit=1_000)).items
    told.extend(repr({key: value for key, value in vars(entry).items() if key[0] != "_"}) for entry in entries)
    rows = await keys.connection.fetch_all(Plan[ApiKey](select(ApiKey), name="all", rows=ApiKey), {})
    told.extend(map(repr, rows))
    sealed = [row.secret for row in rows if row.secret is not None]
    told.extend([repr(db.settings), repr(keys.connection.keyring)])

    everything = "\n".join([*told, logged.text])
    assert {entry.action for entry in entries} >= {"issue", "rotate", "revoke", "store", "read", "grant"}
    assert "issue" in everything  # what is looked through is there
    for issued in (first, second):
        body = issued.plaintext.removeprefix(issued.key.prefix)
        assert body not in everything
        assert digest_of(issued.plaintext) not in everything
    for secret in (SECRET[10:-10], SECRET[::-1][10:-10], MALFORMED, ENCRYPTION):
        assert secret not in everything
    for blob in sealed:
        assert blob.hex()[-32:] not in everything
        assert repr(blob)[10:-1] not in everything
