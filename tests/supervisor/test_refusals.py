"""What nobody may be is refused in our own words, whatever it is, and alike on both databases; no secret is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.supervisor.access import Access
from agentdb.supervisor.models import UserStatus
from agentdb.testing.factories import make_user

LONG = 10**5_000  # Python spells no number of so many digits
SECRET = "hunter2"


async def test_whatever_a_caller_passes_is_refused_in_our_words(db: Database, subtests: pytest.Subtests) -> None:
    user, who = (await make_user(db, username="adam")).id, db.supervisor
    role = (await who.roles.create("r", by=None)).id
    policy = (await who.policies.create("p", "things", "read", by=None)).id
    key = (await who.api_keys.issue(user, "k", by=None)).key.id
    login = await who.logins.start(user)
    before = await who.audit.count()
    none: Any = None
    some: Any = 5
    long: Any = LONG
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "a name too long to tell": lambda: who.users.create(long),
        "a name to find": lambda: who.users.get_or_create(long),
        "a name to change": lambda: who.users.rename(user, long),
        "a version too long to tell": lambda: who.users.rename(user, "b", expected_version=LONG),
        "a version to change": lambda: who.users.update(user, expected_version=LONG, title="x"),
        "a kind too long to tell": lambda: who.users.search("x", kind=long),
        "a status too long to tell": lambda: who.users.search("x", status=long),
        "no users": lambda: who.users.add_many(none),
        "a user alone": lambda: who.users.add_many({"username": "b"}),  # type: ignore[dict-item]
        "users that are none": lambda: who.users.add_many([some]),
        "on nothing": lambda: who.users.upsert(on=none, username="adam", title="x"),
        "on a number": lambda: who.users.upsert(on=some, username="adam", title="x"),
        "on lists": lambda: who.users.upsert(on=[["username"]], username="adam", title="x"),  # type: ignore[list-item]
        "on what is too long to tell": lambda: who.users.upsert(on=[long], username="adam", title="x"),
        "keys of several kinds": lambda: who.users.count(id__in=[user, "x"]),
        "a row too long to tell": lambda: who.audit.record(actor_id=user, action="a", entity="e", entity_id=LONG),
        "a row that is a list": lambda: who.audit.record(actor_id=user, action="a", entity="e", entity_id=[1]),  # type: ignore[arg-type]
        "a detail that is a text": lambda: who.audit.record(actor_id=user, action="a", entity="e", detail="x"),  # type: ignore[arg-type]
        "what was done to no row": lambda: who.audit.of_entity("users", long),
        "no action": lambda: who.permissions.can(user, none, "agents"),
        "a list of things": lambda: who.permissions.can(user, "read", ["agents"]),  # type: ignore[arg-type]
        "a permission too long to tell": lambda: who.permissions.grant(user, long, by=None),
        "a permission to take": lambda: who.permissions.revoke(user, [1], by=None),  # type: ignore[arg-type]
        "holders of nothing": lambda: who.permissions.holders(none),
        "scopes too long to tell": lambda: who.api_keys.issue(user, "b", scopes=[long], by=None),
        "no scopes": lambda: who.api_keys.issue(user, "b", scopes=none, by=None),
        "metadata of a key": lambda: who.api_keys.issue(user, "b", metadata="x", by=None),  # type: ignore[arg-type]
        "an overlap too long to tell": lambda: who.api_keys.rotate(key, overlap_seconds=[LONG], by=None),  # type: ignore[arg-type]
        "keys of a user too long to tell": lambda: who.api_keys.list(LONG),
        "keys of a kind too long to tell": lambda: who.api_keys.list(user, kind=long),
        "a time too long to tell": lambda: who.logins.start(user, ttl_seconds=LONG),
        "data that is a text": lambda: who.logins.start(user, data=""),  # type: ignore[arg-type]
        "sessions of a user too long to tell": lambda: who.logins.of_user(LONG),
        "no session that stays": lambda: who.logins.revoke_all(user, but=""),  # type: ignore[arg-type]
        "no transports": lambda: who.passkeys.enroll(user, credential_id="c", public_key="k", transports=none),
        "transports that are none": lambda: who.passkeys.enroll(
            user, credential_id="c", public_key="k", transports=[long]
        ),
        "a token's time too long to tell": lambda: who.registrations.issue(user, ttl_seconds=LONG),
        "an administrator too long to tell": lambda: who.registrations.bootstrap(long),
        "no policies": lambda: who.roles.set_policies(role, none, by=None),
        "a pair too long to tell": lambda: who.roles.set_policies(role, [(long, "read")], by=None),
        "a policy too long to tell": lambda: who.policies.create(long, "x", "y", by=None),
        "an action too long to tell": lambda: who.policies.change(policy, action=long, by=None),
    }

    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput):
            await call()
    assert await who.audit.count() == before
    assert await who.users.count() == 1
    assert (await who.logins.authenticate(login.token)).user_id == user


def test_what_may_be_done_is_asked_in_texts() -> None:
    access = Access(1, "adam", UserStatus.active, None, ("supervisor_admin",), ())

    with pytest.raises(BadInput, match="action"):
        access.allows(None, "agents")  # type: ignore[arg-type]
    assert access.allows("read", "agents")


async def test_scopes_may_come_one_by_one(db: Database) -> None:
    user = await make_user(db)

    issued = await db.supervisor.api_keys.issue(user.id, "k", scopes=(scope for scope in ("a", "b")), by=None)  # type: ignore[arg-type]

    assert list(issued.key.scopes) == ["a", "b"]


async def test_a_secret_in_the_wrong_place_is_not_told(db: Database, subtests: pytest.Subtests) -> None:
    user, who, told = (await make_user(db)).id, db.supervisor, SECRET
    provider = (await db.catalog.providers.create("openai")).id
    wrong: Any = [told]
    deep: Any = {told: {5: told}}
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "a password": lambda: who.passwords.set(user, wrong),
        "a short password": lambda: who.passwords.set(user, told),
        "a hash": lambda: who.passwords.bring(user, told),
        "a token to register": lambda: who.registrations.check(wrong),
        "a token of a login": lambda: who.logins.authenticate(wrong),
        "a runtime key": lambda: who.runtime_keys.user_of(wrong),
        "an access key": lambda: who.api_keys.authenticate(told),
        "an access key in a list": lambda: who.api_keys.authenticate(wrong),
        "a provider's key": lambda: who.api_keys.store_provider_key(user, provider, "n", wrong, by=None),
        "metadata": lambda: who.api_keys.issue(user, "n", metadata=wrong, by=None),
        "data of a login": lambda: who.logins.start(user, data=wrong),
        "a login": lambda: who.passwords.verify(wrong, told),
        "a passkey": lambda: who.passkeys.enroll(user, credential_id="c", public_key=wrong),
        "a detail": lambda: who.audit.record(actor_id=user, action="a", entity="e", detail=wrong),
        "a document": lambda: who.logins.start(user, data={"at": deep[told].keys()}),
    }

    for what, call in calls.items():
        with subtests.test(what), pytest.raises(BadInput) as refusal:
            await call()
        assert SECRET not in str(refusal.value)
