"""Registration tokens: one for each user, good once; and the first administrator."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from argon2.profiles import CHEAPEST

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, InvalidTransition, NotFound
from agentdb.models import PasskeyCredential
from agentdb.supervisor.hashing import Hasher
from agentdb.supervisor.passwords import Passwords
from agentdb.supervisor.records import Registration
from agentdb.supervisor.registrations import Registrations
from agentdb.supervisor.tokens import digest_of
from agentdb.testing.factories import make_user

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
GOOD = "correct horse battery"
WEEK = timedelta(days=7)


@pytest.fixture
def registrations(db: Database) -> Registrations:
    return Registrations(db._over, hasher=Hasher(CHEAPEST))


@pytest.fixture
def passwords(db: Database) -> Passwords:
    return Passwords(db._over, hasher=Hasher(CHEAPEST))


async def test_a_token_sets_a_password_once(db: Database, registrations: Registrations, passwords: Passwords) -> None:
    ada = await make_user(db)
    new = await registrations.issue(ada.id)
    token, registration = new

    assert await registrations.check(token) == await registrations.check(token) == registration
    assert await registrations.consume_for_password(token, GOOD) == registration

    assert await passwords.verify(ada.username, GOOD) is not None
    for again in (registrations.check(token), registrations.consume_for_password(token, "another one")):
        with pytest.raises(NotFound):
            await again
    assert await passwords.verify(ada.username, GOOD) is not None
    assert (registration.user_id, registration.username) == (ada.id, ada.username)
    assert token not in repr(new)
    stored = await registrations.get(registration.id)
    assert stored.token_hash == digest_of(token)
    assert stored.used_at is not None


async def test_a_token_gives_a_passkey_once(db: Database, registrations: Registrations) -> None:
    ada, eve = await make_user(db), await make_user(db)
    await db.supervisor.passkeys.enroll(eve.id, credential_id="taken", public_key="k")
    token, _ = await registrations.issue(ada.id)

    with pytest.raises(Conflict):
        await registrations.consume_for_passkey(token, credential_id="taken", public_key="k")
    with pytest.raises(BadInput):
        await registrations.consume_for_passkey(token, credential_id="", public_key="k")
    passkey = await registrations.consume_for_passkey(token, credential_id="free", public_key="k")

    assert passkey.user_id == ada.id
    with pytest.raises(NotFound):
        await registrations.consume_for_passkey(token, credential_id="other", public_key="k")
    assert await db.supervisor.passkeys.count() == 2


async def test_of_two_who_use_a_token_at_once_one_does(db: Database, registrations: Registrations) -> None:
    for attempt in range(5):
        ada = await make_user(db)
        token, _ = await registrations.issue(ada.id)

        answers = await asyncio.gather(
            *(
                registrations.consume_for_passkey(token, credential_id=f"{attempt}-{number}", public_key="k")
                for number in range(3)
            ),
            *(registrations.consume_for_password(token, GOOD) for _ in range(2)),
            return_exceptions=True,
        )

        won = [answer for answer in answers if not isinstance(answer, NotFound)]
        assert [type(answer) for answer in won] in ([PasskeyCredential], [Registration])
        kept = (await db.supervisor.users.get(ada.id)).password_hash
        passkeys = await db.supervisor.passkeys.of_user(ada.id)
        assert (kept is not None) + len(passkeys) == 1


async def test_a_token_that_expired_or_whose_user_may_not_act_stores_nothing(
    db: Database, registrations: Registrations
) -> None:
    ada = await make_user(db)

    with clock.hold(NOON) as hand:
        token, registration = await registrations.issue(ada.id)
        assert registration.expires_at == NOON + WEEK
        await db.supervisor.users.disable(ada.id)
        with pytest.raises(NotFound):
            await registrations.consume_for_password(token, GOOD)
        with pytest.raises(InvalidTransition):
            await registrations.issue(ada.id)
        await db.supervisor.users.enable(ada.id)
        hand.forward(WEEK)
        for late in (
            registrations.check(token),
            registrations.consume_for_password(token, GOOD),
            registrations.consume_for_passkey(token, credential_id="c", public_key="k"),
        ):
            with pytest.raises(NotFound):
                await late

    assert (await db.supervisor.users.get(ada.id)).password_hash is None
    assert await db.supervisor.passkeys.count() == 0


async def test_a_bad_password_leaves_the_token_good(
    db: Database, registrations: Registrations, subtests: pytest.Subtests
) -> None:
    ada = await make_user(db)
    token, _ = await registrations.issue(ada.id)

    for password in ("short", "a" * 129):
        with subtests.test(password=password):
            with pytest.raises(BadInput):
                await registrations.consume_for_password(token, password)

            assert (await registrations.check(token)).user_id == ada.id


async def test_a_new_token_replaces_the_one_before_and_a_used_one_stays(
    db: Database, registrations: Registrations
) -> None:
    ada = await make_user(db)
    used, _ = await registrations.issue(ada.id)
    await registrations.consume_for_password(used, GOOD)
    first, _ = await registrations.issue(ada.id)
    second, _ = await registrations.issue(ada.id, by=ada.id)

    with pytest.raises(NotFound):
        await registrations.check(first)
    assert (await registrations.check(second)).user_id == ada.id
    assert await registrations.count() == 2


async def test_of_tokens_that_are_issued_at_once_one_is_good(db: Database, registrations: Registrations) -> None:
    ada = await make_user(db)

    issued = await asyncio.gather(*(registrations.issue(ada.id) for _ in range(10)))

    answers = await asyncio.gather(*(registrations.check(new.token) for new in issued), return_exceptions=True)
    assert sum(isinstance(answer, Registration) for answer in answers) == 1
    assert await registrations.count() == 1


async def test_the_first_administrator_is_made_once_by_many_at_once(db: Database) -> None:
    answers = await asyncio.gather(*(db.supervisor.registrations.bootstrap() for _ in range(10)))

    (user_id,) = {answer.user.id for answer in answers}
    (token,) = [answer.token for answer in answers if answer.token is not None]
    assert (await db.supervisor.registrations.check(token)).user_id == user_id
    assert [given.permission for given in await db.supervisor.permissions.of_user(user_id)] == ["supervisor_admin"]
    assert await db.supervisor.permissions.can(user_id, "anything", "at all")
    assert await db.supervisor.users.count() == 1
    assert all(token not in repr(answer) for answer in answers)
    told = (await db.supervisor.audit.of_entity("users", user_id)).items
    assert [entry.action for entry in told] == ["grant", "create"]


async def test_a_later_start_repairs_what_is_missing_and_nothing_else(
    db: Database, registrations: Registrations
) -> None:
    half = await db.supervisor.users.create("root")

    first = await registrations.bootstrap("root")

    assert first.user.id == half.id
    assert first.token is not None
    assert await db.supervisor.permissions.can(half.id, "any", "thing")
    assert (await registrations.bootstrap("root")).token is None
    await registrations.consume_for_password(first.token, GOOD)
    with clock.hold(datetime.now(UTC) + 8 * WEEK):
        assert (await registrations.bootstrap("root")).token is None
        eve = await registrations.bootstrap("eve", ttl_seconds=60)
        assert eve.token is not None
    with clock.hold(datetime.now(UTC) + 9 * WEEK):
        again = await registrations.bootstrap("eve")
        assert again.token not in {None, eve.token}
        with pytest.raises(NotFound):
            await registrations.check(eve.token)
    with pytest.raises(BadInput):
        await registrations.bootstrap("no name")


async def test_the_log_tells_of_tokens_without_them(db: Database, registrations: Registrations) -> None:
    ada, eve = await make_user(db), await make_user(db)
    token, registration = await registrations.issue(ada.id, by=eve.id)
    await registrations.consume_for_password(token, GOOD)

    told = (await db.supervisor.audit.of_entity("registration_tokens", registration.id)).items
    assert [(entry.action, entry.actor_user_id, entry.detail) for entry in told] == [
        ("consume", ada.id, {"user_id": ada.id}),
        ("issue", eve.id, {"user_id": ada.id}),
    ]
    everything = repr([entry.detail for entry in (await db.supervisor.audit.between(limit=100)).items])
    for secret in (token, digest_of(token), GOOD, "$argon2"):
        assert secret not in everything


async def test_a_start_makes_nobody_an_administrator_again(db: Database, registrations: Registrations) -> None:
    root, boss = await registrations.bootstrap("root"), await make_user(db)
    await db.supervisor.permissions.grant(boss.id, "supervisor_admin", by=root.user.id)
    await db.supervisor.permissions.revoke(root.user.id, "supervisor_admin", by=boss.id)

    again = await registrations.bootstrap("root")

    assert (again.user.id, again.token) == (root.user.id, None)
    assert await db.supervisor.permissions.of_user(root.user.id) == []


async def test_a_start_makes_an_administrator_where_none_can_act(db: Database, registrations: Registrations) -> None:
    root = await db.supervisor.users.create("root")
    gone, idle = await make_user(db), await make_user(db)
    role = await db.supervisor.roles.create("all", by=None)
    await db.supervisor.policies.create("all", "*", "*", by=None)
    await db.supervisor.roles.set_policies(role.id, [("*", "*")], by=None)
    await db.supervisor.roles.assign(gone.id, "all", by=None)  # may do everything, and is no administrator
    await db.supervisor.permissions.grant(idle.id, "*:*", by=None)

    made = await registrations.bootstrap("root")

    assert made.token is not None
    assert [given.permission for given in await db.supervisor.permissions.of_user(root.id)] == ["supervisor_admin"]
    with pytest.raises(InvalidTransition, match="last administrator"):
        await db.supervisor.users.disable(root.id)
    with pytest.raises(InvalidTransition, match="last administrator"):
        await db.supervisor.permissions.revoke(root.id, "supervisor_admin", by=None)


async def test_a_start_leaves_a_user_who_may_not_act_alone(db: Database, registrations: Registrations) -> None:
    root = await db.supervisor.users.create("root")
    await db.supervisor.users.disable(root.id)

    assert (await registrations.bootstrap("root")).token is None
    assert await db.supervisor.permissions.of_user(root.id) == []


async def test_starts_and_those_who_go_at_once_leave_one_administrator(
    db: Database, registrations: Registrations
) -> None:
    root, boss = (await registrations.bootstrap("root")).user, await make_user(db)
    await db.supervisor.permissions.grant(boss.id, "supervisor_admin", by=None)

    answers = await asyncio.gather(
        db.supervisor.users.disable(boss.id),
        db.supervisor.permissions.revoke(root.id, "supervisor_admin", by=None),
        *(registrations.bootstrap("root") for _ in range(4)),
        return_exceptions=True,
    )

    assert {type(answer) for answer in answers if isinstance(answer, Exception)} <= {InvalidTransition}
    holders = (await db.supervisor.permissions.holders("supervisor_admin")).items
    assert any(holder.status == "active" for holder in holders)


async def test_an_open_token_ends_with_a_password_set_otherwise(
    db: Database, registrations: Registrations, passwords: Passwords
) -> None:
    ada, eve = await make_user(db), await make_user(db)
    token, others = (await registrations.issue(ada.id)).token, (await registrations.issue(eve.id)).token

    await passwords.set(ada.id, GOOD)

    with pytest.raises(NotFound):
        await registrations.consume_for_password(token, "somebody else's")
    assert await passwords.verify(ada.username, GOOD) is not None
    assert (await registrations.check(others)).user_id == eve.id


async def test_an_open_token_ends_with_the_first_passkey_and_not_with_another(
    db: Database, registrations: Registrations, passwords: Passwords
) -> None:
    ada, eve = await make_user(db), await make_user(db)
    await passwords.set(eve.id, GOOD)
    first, second = (await registrations.issue(ada.id)).token, (await registrations.issue(eve.id)).token

    await db.supervisor.passkeys.enroll(ada.id, credential_id="a", public_key="k")
    await db.supervisor.passkeys.enroll(eve.id, credential_id="b", public_key="k")

    with pytest.raises(NotFound):
        await registrations.check(first)
    assert (await registrations.check(second)).user_id == eve.id
    third = (await registrations.issue(ada.id)).token
    await db.supervisor.passkeys.enroll(ada.id, credential_id="c", public_key="k")
    assert (await registrations.check(third)).user_id == ada.id
