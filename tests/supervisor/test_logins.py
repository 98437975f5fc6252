"""Login sessions: opaque, counted by the clock, ended at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound
from agentdb.models import UserKind
from agentdb.supervisor.logins import TTL_SECONDS
from agentdb.supervisor.tokens import digest_of
from agentdb.testing.factories import make_user

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


async def test_a_token_tells_whose_session_it_is_and_is_shown_nowhere_else(db: Database) -> None:
    ada = await make_user(db)

    new = await db.supervisor.logins.start(ada.id, ip_address="::1", user_agent="curl", data={"theme": "dark"})
    token, session = new

    assert await db.supervisor.logins.authenticate(token) == session
    assert (session.user_id, session.username, session.uuid) == (ada.id, ada.username, ada.uuid)
    assert (session.kind, session.data) == (UserKind.human, {"theme": "dark"})
    assert len(token) == 43
    stored = await db.supervisor.logins.get(session.session_id)
    assert stored.token_hash == digest_of(token)
    for shown in (repr(new), str(new), f"{new}", repr(stored), repr(session)):
        assert token not in shown
        assert stored.token_hash not in shown
    with pytest.raises(NotFound):
        await db.supervisor.logins.authenticate(stored.token_hash)


async def test_a_session_ends_at_its_time_and_not_before(db: Database) -> None:
    ada = await make_user(db)

    with clock.hold(NOON) as hand:
        token, session = await db.supervisor.logins.start(ada.id)
        assert session.expires_at == NOON + timedelta(seconds=TTL_SECONDS) == NOON + 30 * DAY
        hand.forward(30 * DAY - timedelta(microseconds=1))
        assert await db.supervisor.logins.authenticate(token) == session
        hand.forward(timedelta(microseconds=1))
        with pytest.raises(NotFound, match="sign in again"):
            await db.supervisor.logins.authenticate(token)


async def test_a_session_that_renews_lives_on_once_half_of_it_is_over(db: Database) -> None:
    ada = await make_user(db)

    with clock.hold(NOON) as hand:
        token, session = await db.supervisor.logins.start(ada.id, ttl_seconds=100)
        hand.forward(timedelta(seconds=50))
        assert (await db.supervisor.logins.authenticate(token, renew_seconds=100)).expires_at == session.expires_at
        async with db.read() as unit:  # in which nothing can be written
            assert await unit.supervisor.logins.authenticate(token, renew_seconds=100) == session
        moment = hand.forward(timedelta(seconds=1))
        assert (await db.supervisor.logins.authenticate(token)).expires_at == session.expires_at
        logins = await asyncio.gather(*(db.supervisor.logins.authenticate(token, renew_seconds=100) for _ in range(10)))
        assert {login.expires_at for login in logins} == {moment + timedelta(seconds=100)}
        row = await db.supervisor.logins.get(session.session_id)
        assert row.last_seen_at == moment
        hand.forward(timedelta(seconds=100))
        with pytest.raises(NotFound):
            await db.supervisor.logins.authenticate(token, renew_seconds=100)


async def test_many_tokens_are_told_apart_when_they_are_asked_for_at_once(db: Database) -> None:
    users = [await make_user(db) for _ in range(5)]
    tokens = [(await db.supervisor.logins.start(user.id)).token for user in users]
    await db.supervisor.users.disable(users[4].id)

    answers = await asyncio.gather(
        *(db.supervisor.logins.authenticate(token) for token in [*tokens, "unknown"] * 5), return_exceptions=True
    )

    found = [None if isinstance(answer, BaseException) else answer.user_id for answer in answers]
    assert found == [*(user.id for user in users[:4]), None, None] * 5


async def test_a_user_who_may_not_act_does_not_sign_in(db: Database) -> None:
    ada = await make_user(db)
    await db.supervisor.users.disable(ada.id)

    with pytest.raises(InvalidTransition):
        await db.supervisor.logins.start(ada.id)
    with pytest.raises(NotFound):
        await db.supervisor.logins.start(404)
    with pytest.raises(BadInput, match="4,096 characters"):
        await db.supervisor.logins.start(ada.id, data={"much": "a" * 5_000})
    for ttl in (0, -1, 1e10, float("nan")):
        with pytest.raises(BadInput):
            await db.supervisor.logins.start(ada.id, ttl_seconds=ttl)
    assert await db.supervisor.logins.count() == 0


async def test_sessions_are_ended_one_by_one_and_all_but_one(db: Database) -> None:
    logins = db.supervisor.logins
    ada, eve = await make_user(db), await make_user(db)
    first, second, third, fourth = [await logins.start(ada.id) for _ in range(4)]
    others = await logins.start(eve.id)

    assert await logins.end(first.token)
    assert not await logins.end(first.token)
    assert await logins.revoke(second.session.session_id, by=eve.id)
    assert not await logins.revoke(second.session.session_id)
    assert await logins.revoke_all(ada.id, but=fourth.session.session_id) == 1

    for ended in (first, second, third):
        with pytest.raises(NotFound):
            await logins.authenticate(ended.token)
    assert await logins.authenticate(fourth.token) == fourth.session
    assert await logins.revoke_all(ada.id) == 1
    assert await logins.revoke_all(ada.id) == 0
    assert await logins.authenticate(others.token) == others.session


async def test_a_user_sees_their_live_sessions_newest_first_by_page(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    with clock.hold(NOON) as hand:
        await db.supervisor.logins.start(ada.id, ttl_seconds=10)
        hand.forward(timedelta(seconds=10))
        made = [
            (await db.supervisor.logins.start(ada.id, ip_address=f"10.0.0.{number}")).session.session_id
            for number in range(3)
        ]
        await db.supervisor.logins.start(eve.id)

        first = await db.supervisor.logins.of_user(ada.id, limit=2)
        second = await db.supervisor.logins.of_user(ada.id, limit=2, after=first.next)

    assert [session.id for session in first.items] == [made[2], made[1]]
    assert [(session.id, session.ip_address) for session in second.items] == [(made[0], "10.0.0.0")]
    assert second.next is None
    assert not hasattr(first.items[0], "token_hash")


async def test_ended_sessions_are_purged_in_batches_by_many_at_once(db: Database) -> None:
    ada = await make_user(db)
    with clock.hold(NOON) as hand:
        for _ in range(7):
            await db.supervisor.logins.start(ada.id, ttl_seconds=10)
        live = await db.supervisor.logins.start(ada.id, ttl_seconds=11)
        assert await db.supervisor.logins.purge() == 0
        hand.forward(timedelta(seconds=10))

        assert await db.supervisor.logins.purge(limit=3) == 3
        assert sum(await asyncio.gather(*(db.supervisor.logins.purge(limit=2) for _ in range(4)))) == 4

        assert await db.supervisor.logins.count() == 1
        assert await db.supervisor.logins.authenticate(live.token) == live.session


async def test_the_log_tells_of_logins_without_tokens(db: Database) -> None:
    ada, eve = await make_user(db), await make_user(db)
    one, other, third = [await db.supervisor.logins.start(ada.id, ip_address="10.0.0.1") for _ in range(3)]
    await db.supervisor.logins.end(one.token)
    await db.supervisor.logins.revoke(other.session.session_id, by=eve.id)
    await db.supervisor.logins.revoke_all(ada.id, by=eve.id)

    entries = (await db.supervisor.audit.between(limit=100)).items
    told = [(entry.action, entry.actor_user_id, entry.ip_address) for entry in entries if entry.action != "create"]
    assert told == [
        ("revoke_sessions", eve.id, None),
        ("revoke", eve.id, None),
        ("logout", ada.id, None),
        *[("login", ada.id, "10.0.0.1")] * 3,
    ]
    everything = repr([(entry.detail, entry.entity_id) for entry in entries])
    for secret in (one.token, third.token, digest_of(one.token)):
        assert secret not in everything
