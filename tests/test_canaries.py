"""What must never be told, told to everything that could tell it: errors, representations, the log, the audit log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest
from argon2.profiles import CHEAPEST
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from agentdb.database import Database
from agentdb.errors import AgentDBError
from agentdb.integration.records import Tokens
from agentdb.models import tables
from agentdb.supervisor.hashing import Hasher
from agentdb.supervisor.models import AuditLog, User
from agentdb.supervisor.tokens import digest_of
from agentdb.testing.factories import make_user
from tests.canaries import Watch, canary, plant, told

PASSWORD = canary("password")
WRONG = canary("another password")
PROVIDER = canary("key of a provider")
VARIABLE = canary("value of a variable")
TOOL = canary("credential of a tool")
ACCESS = canary("access token of an integration")
REFRESH = canary("refresh token of an integration")


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": plant("8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96")}


class _Ears:
    """Calls, and keeps whatever the answer or the error says of itself."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.refused = 0

    async def call(self, work: Awaitable[Any]) -> Any:
        try:
            answer = await work
        except (AgentDBError, SQLAlchemyError) as error:
            self.refused += 1
            self.heard += [str(error), repr(error), *traceback.format_exception(error)]
            return None
        if not isinstance(answer, str):
            self.heard += [repr(answer), str(answer)]
        return answer


async def _walk(db: Database, ears: _Ears) -> None:
    """Let every secret there is come by every way it goes, rightly and wrongly."""
    user, other = await make_user(db), await make_user(db)
    supervisor = db.supervisor
    supervisor.passwords.hasher = supervisor.registrations.hasher = Hasher(CHEAPEST)

    await ears.call(supervisor.passwords.set(user.id, PASSWORD))
    await ears.call(supervisor.passwords.set(10**9, PASSWORD))
    await ears.call(supervisor.passwords.set(user.id, PASSWORD * 200))
    await ears.call(supervisor.passwords.change(user.id, WRONG, current=WRONG))
    await ears.call(supervisor.passwords.verify(user.username, PASSWORD))
    await ears.call(supervisor.passwords.verify(PASSWORD, WRONG))
    await ears.call(supervisor.passwords.bring(user.id, PASSWORD))
    await _sign_in(db, ears, user, other)
    await _use_keys(db, ears, user)
    await _keep_variables(db, ears, user)
    await _connect(db, ears, user)


async def _sign_in(db: Database, ears: _Ears, user: User, other: User) -> None:
    supervisor = db.supervisor
    started = await supervisor.logins.start(user.id)
    for secret in (started.token, digest_of(started.token)):
        plant(secret)
    await ears.call(supervisor.logins.authenticate(started.token))
    await ears.call(supervisor.logins.authenticate(started.token + "x"))
    await ears.call(supervisor.logins.of_user(user.id))
    await ears.call(supervisor.logins.end(started.token))
    await ears.call(supervisor.logins.authenticate(started.token))

    registration = await supervisor.registrations.issue(other.id)
    for secret in (registration.token, digest_of(registration.token)):
        plant(secret)
    ears.heard.append(repr(registration))
    await ears.call(supervisor.registrations.check(registration.token))
    await ears.call(supervisor.registrations.consume_for_password(registration.token, "short"))
    await ears.call(supervisor.registrations.consume_for_password(registration.token, PASSWORD))
    await ears.call(supervisor.registrations.consume_for_password(registration.token, PASSWORD))

    key = await supervisor.runtime_keys.issue(user.id)
    for secret in (key, digest_of(key)):
        plant(secret)
    await ears.call(supervisor.runtime_keys.user_of(key))
    await ears.call(supervisor.runtime_keys.revoke(user.id))
    await ears.call(supervisor.runtime_keys.user_of(key))


async def _use_keys(db: Database, ears: _Ears, user: User) -> None:
    supervisor = db.supervisor
    provider = await db.catalog.providers.create("openai", api_key=PROVIDER)
    await ears.call(db.catalog.providers.create("openai", api_key=PROVIDER))
    await ears.call(db.catalog.providers.update(provider.id, api_key=PROVIDER + "\ud800"))
    await ears.call(db.catalog.providers.get(provider.id))
    await ears.call(db.catalog.providers.list())
    issued = await supervisor.api_keys.issue(user.id, "ci", by=user.id)
    plant(digest_of(issued.plaintext))
    ears.heard.append(repr(issued))
    await ears.call(supervisor.api_keys.authenticate(issued.plaintext))
    await ears.call(supervisor.api_keys.store_provider_key(user.id, provider.id, "main", PROVIDER, by=user.id))
    await ears.call(supervisor.api_keys.store_provider_key(user.id, 10**9, "main", PROVIDER, by=user.id))

    tool = await db.catalog.tools.create("web")
    await ears.call(db.catalog.user_tools.give(user.id, tool.id, credential={"key": TOOL}))
    await ears.call(db.catalog.user_tools.give(user.id, 10**9, credential={"key": TOOL}))
    await ears.call(db.catalog.user_tools.set_credential(10**9, tool.id, {"key": TOOL}))
    await ears.call(db.catalog.user_tools.list(user.id))


async def _keep_variables(db: Database, ears: _Ears, user: User) -> None:
    await ears.call(db.hub.variables.save("TOKEN", VARIABLE, sensitive=True, by=user.id))
    await ears.call(db.hub.variables.save("TOKEN", VARIABLE, sensitive=True, by=10**9))
    await ears.call(db.hub.variables.save("", VARIABLE, sensitive=True, by=user.id))
    await ears.call(db.hub.variables.get("TOKEN"))
    await ears.call(db.hub.variables.list())

    # Sessions of SQLAlchemy know no secrets, but tell what they are given when a row is refused.
    async with db.write() as unit:
        unit.session.add(User(username="twice", password_hash=PASSWORD))
    await ears.call(_add(db, User(username="twice", password_hash=PASSWORD)))
    await ears.call(_add(db, User(username="other", lead_user_id=10**9, password_hash=WRONG)))
    await ears.call(_execute(db, "SELECT * FROM users WHERE password_hash = :it AND nothing = 1", it=PASSWORD))


async def _connect(db: Database, ears: _Ears, user: User) -> None:
    connections, events = db.integration.connections, db.integration.events
    tokens = Tokens(ACCESS, REFRESH)
    ears.heard.append(repr(tokens))
    await ears.call(connections.connect(10**9, "gmail", tokens))
    await ears.call(connections.connect(user.id, "", tokens))
    await ears.call(connections.connect(user.id, "gmail", Tokens(f"{ACCESS}\ud800", REFRESH)))
    made = await connections.connect(user.id, "gmail", tokens)
    await ears.call(connections.connect(user.id, "gmail", tokens, account_id="a" * 2_000))
    await ears.call(connections.reveal(made.id, by=user.id))
    await ears.call(connections.reveal(10**9, by=user.id))

    async def renews(_: str) -> Tokens:
        return Tokens(ACCESS, REFRESH)

    async def breaks(refresh_token: str) -> Tokens:
        raise ConnectionError(f"the provider refused {refresh_token}")

    # What a provider raises is the caller's own, and passes; what is noted of it is ours.
    with suppress(ConnectionError):
        await connections.refresh(made.id, breaks, seen=made.token_version)
    refreshed = await ears.call(connections.refresh(made.id, renews, seen=made.token_version))
    assert refreshed.token_version == made.token_version + 1
    await ears.call(events.record_use(made.id, "send"))
    ears.heard += [
        repr({key: value for key, value in vars(event).items() if key[0] != "_"})
        for event in (await events.latest(integration_id=made.id)).items
    ]
    await ears.call(connections.of_user(user.id))
    await ears.call(connections.disconnect(made.id))
    await ears.call(connections.reveal(made.id, by=user.id))


async def _add(db: Database, row: Any) -> None:
    async with db.write() as unit:
        unit.session.add(row)
        await unit.session.flush()


async def _execute(db: Database, statement: str, **values: Any) -> None:
    async with db.write() as unit:
        await unit.session.execute(text(statement), values)


async def test_no_secret_is_told(db: Database) -> None:
    ears, watch = _Ears(), Watch()
    logging.getLogger().addHandler(watch)
    try:
        await _walk(db, ears)
    finally:
        logging.getLogger().removeHandler(watch)

    async with db.read() as unit:
        entries = (await unit.session.execute(select(AuditLog))).scalars().all()
    ears.heard += [repr({key: value for key, value in vars(entry).items() if key[0] != "_"}) for entry in entries]
    ears.heard += [repr(db), repr(db.settings), str(db.settings)]
    assert ears.refused > 10
    assert len(entries) > 5
    assert watch.heard > 0
    assert watch.telling == []
    for heard in ears.heard:
        assert told(heard) == []
    await _nothing_is_stored_as_it_is(db)


async def _nothing_is_stored_as_it_is(db: Database) -> None:
    async with db.read() as unit:
        for model in tables.values():
            for row in (await unit.session.execute(select(model.__table__))).mappings():
                for column, value in row.items():
                    # The user whom a session wrote past the repositories, to see what is told of it.
                    if row.get("username") != "twice":
                        assert told(str(value)) == [] or column in _DIGESTS, column


_DIGESTS = frozenset({"token_hash", "digest", "runtime_key_hash"})
