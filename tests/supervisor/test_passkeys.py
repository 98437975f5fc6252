"""Passkeys: found by their credential, counted forward, taken with the sessions they opened."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, InvalidTransition, NotFound, StaleVersion
from agentdb.models import PasskeyCredential
from agentdb.testing.factories import make_user

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def enroll(db: Database, user_id: int, credential_id: str = "cred-1", **details: Any) -> PasskeyCredential:
    return await db.supervisor.passkeys.enroll(user_id, credential_id=credential_id, public_key="key", **details)


async def test_a_passkey_is_found_with_its_user(db: Database) -> None:
    ada = await make_user(db)
    made = await enroll(db, ada.id, transports=["usb", "internal"], device_label="phone", counter=3)

    found = await db.supervisor.passkeys.by_credential_id("cred-1")

    assert (found.id, found.public_key, found.counter, found.transports) == (made.id, "key", 3, "usb,internal")
    assert (found.user_id, found.username, found.uuid) == (ada.id, ada.username, ada.uuid)
    await db.supervisor.users.disable(ada.id)
    for unknown in ("cred-1", "cred-2"):
        with pytest.raises(NotFound):
            await db.supervisor.passkeys.by_credential_id(unknown)


async def test_a_credential_is_one_users_only(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    await enroll(db, ada.id)

    with pytest.raises(Conflict):
        await enroll(db, eve.id)
    with pytest.raises(NotFound):
        await enroll(db, 404, "cred-2")
    await db.supervisor.users.disable(eve.id)
    with pytest.raises(InvalidTransition):
        await enroll(db, eve.id, "cred-2")
    for wrong in ({"device_label": "x" * 65}, {"transports": ["a,b"]}, {"counter": -1}, {"credential_id": ""}):
        with pytest.raises(BadInput):
            await enroll(db, ada.id, **{"credential_id": "cred-3", **wrong})  # type: ignore[arg-type]
    assert await db.supervisor.passkeys.count() == 1


async def test_a_counter_moves_forward_only(db: Database) -> None:
    ada = await make_user(db)
    made = await enroll(db, ada.id, counter=5)
    passkeys = db.supervisor.passkeys

    with clock.hold(NOON):
        assert await passkeys.use("cred-1", 6) == ada.id
    for old in (6, 5, 0):
        with pytest.raises(StaleVersion, match="has counted to 6 and answers with"):
            await passkeys.use("cred-1", old)

    row = await passkeys.get(made.id)
    assert (row.counter, row.last_used_at) == (6, NOON)
    with pytest.raises(NotFound):
        await passkeys.use("cred-2", 1)


async def test_an_authenticator_that_does_not_count_stays_at_zero(db: Database) -> None:
    ada = await make_user(db)
    await enroll(db, ada.id)

    for _ in range(2):
        assert await db.supervisor.passkeys.use("cred-1", 0) == ada.id
    assert await db.supervisor.passkeys.use("cred-1", 1) == ada.id
    with pytest.raises(StaleVersion):
        await db.supervisor.passkeys.use("cred-1", 0)


async def test_of_many_answers_with_one_counter_one_is_taken(db: Database) -> None:
    ada = await make_user(db)
    await enroll(db, ada.id)

    answers = await asyncio.gather(
        *(db.supervisor.passkeys.use("cred-1", 7) for _ in range(10)), return_exceptions=True
    )

    assert sum(answer == ada.id for answer in answers) == 1
    assert sum(isinstance(answer, StaleVersion) for answer in answers) == 9


async def test_a_user_who_may_not_act_uses_no_passkey(db: Database) -> None:
    ada = await make_user(db)
    made = await enroll(db, ada.id)
    await db.supervisor.users.archive(ada.id)

    with pytest.raises(NotFound):
        await db.supervisor.passkeys.use("cred-1", 1)
    assert (await db.supervisor.passkeys.get(made.id)).counter == 0


async def test_a_list_shows_no_key_and_only_what_is_ones_own(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    made = [await enroll(db, ada.id, f"cred-{number}") for number in range(2)]
    await enroll(db, eve.id, "cred-eve")

    assert await db.supervisor.passkeys.rename(ada.id, made[0].id, "phone")
    assert not await db.supervisor.passkeys.rename(eve.id, made[0].id, "mine")
    assert not await db.supervisor.passkeys.delete(eve.id, made[0].id)

    shown = await db.supervisor.passkeys.of_user(ada.id)
    assert [(passkey.id, passkey.device_label) for passkey in shown] == [(made[0].id, "phone"), (made[1].id, "")]
    assert not {"public_key", "credential_id"} & set(dir(shown[0]))
    with pytest.raises(BadInput):
        await db.supervisor.passkeys.rename(ada.id, made[0].id, "x" * 65)


async def test_a_session_outlives_a_passkey_only_beside_another_proof(db: Database) -> None:
    ada = await make_user(db)
    first, last = await enroll(db, ada.id, "cred-1"), await enroll(db, ada.id, "cred-2")
    own, other = [(await db.supervisor.logins.start(ada.id)).session.session_id for _ in range(2)]

    async def left() -> list[int]:
        return [session.id for session in (await db.supervisor.logins.of_user(ada.id)).items]

    assert await db.supervisor.passkeys.delete(ada.id, first.id, but=own, by=ada.id)
    assert await left() == [own]
    assert await db.supervisor.passkeys.delete(ada.id, last.id, but=own, by=ada.id)
    assert await left() == []
    assert not await db.supervisor.passkeys.delete(ada.id, last.id)
    assert other


async def test_all_passkeys_are_taken_with_all_sessions_and_the_log_tells_of_each_change(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    made = [await enroll(db, ada.id, f"cred-{number}", by=ada.id) for number in range(2)]
    await db.supervisor.logins.start(ada.id)
    await db.supervisor.passkeys.rename(ada.id, made[0].id, "phone", by=ada.id)

    assert await db.supervisor.passkeys.clear(ada.id, by=eve.id) == 2

    assert await db.supervisor.passkeys.of_user(ada.id) == []
    assert (await db.supervisor.logins.of_user(ada.id)).items == []
    (entry,) = (await db.supervisor.audit.of_entity("users", ada.id, limit=1)).items
    assert (entry.action, entry.actor_user_id) == ("clear_passkeys", eve.id)
    assert entry.detail == {"passkeys": 2, "sessions": 1}
    told = (await db.supervisor.audit.of_entity("passkey_credentials", made[0].id)).items
    assert [(entry.action, entry.actor_user_id) for entry in told] == [("rename", ada.id), ("enroll", ada.id)]
