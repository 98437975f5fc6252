"""Access keys: told once, known by their digest, and dead when they should be."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

import agentdb
from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, InvalidTransition, MissingReference, NotFound
from agentdb.supervisor.key_records import Issued, KeyEntry, digest_of, new_key
from agentdb.testing.factories import make_user

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
DAY = timedelta(days=1)


async def _stored(db: Database) -> str:
    async with db.read() as unit:
        return str((await unit.session.execute(text("SELECT * FROM api_keys"))).all())


async def test_an_issued_key_is_told_once_and_kept_as_its_digest(db: Database) -> None:
    user = await make_user(db)

    issued = await db.supervisor.api_keys.issue(user.id, "ci", scopes=["runs", "runs", "logs"], by=user.id)

    assert len(issued.plaintext) == 47
    assert issued.plaintext.startswith(issued.key.prefix)
    assert (issued.key.user_id, issued.key.name, issued.key.scopes) == (user.id, "ci", ["runs", "logs"])
    stored = await _stored(db)
    assert hashlib.sha256(issued.plaintext.encode()).hexdigest() in stored
    assert issued.plaintext not in stored
    assert issued.plaintext.removeprefix(issued.key.prefix) not in stored


async def test_a_key_tells_who_presents_it(db: Database) -> None:
    user = await make_user(db, kind="service")
    issued = await db.supervisor.api_keys.issue(user.id, "ci", scopes=["runs"], expires_at=_in_a_year(), by=None)

    caller = await db.supervisor.api_keys.authenticate(issued.plaintext)

    assert (caller.key_id, caller.key_name, caller.scopes) == (issued.key.id, "ci", ["runs"])
    assert (caller.user_id, caller.uuid, caller.username, caller.kind) == (user.id, user.uuid, user.username, user.kind)
    assert caller.expires_at == issued.key.expires_at
    assert caller.may("runs")
    assert not caller.may("logs")


def _in_a_year() -> datetime:
    return datetime.now(UTC) + timedelta(days=365)


async def test_a_star_is_every_scope_and_nothing_is_none(db: Database) -> None:
    user = await make_user(db)
    every = await db.supervisor.api_keys.issue(user.id, "every", scopes=["*"], by=None)
    none = await db.supervisor.api_keys.issue(user.id, "none", by=None)

    assert (await db.supervisor.api_keys.authenticate(every.plaintext)).may("runs")
    assert not (await db.supervisor.api_keys.authenticate(none.plaintext)).may("runs")


async def test_callers_at_once_are_told_apart(db: Database) -> None:
    users = [await make_user(db) for _ in range(6)]
    issued = [await db.supervisor.api_keys.issue(user.id, "ci", by=None) for user in users]
    await db.supervisor.api_keys.revoke(issued[2].key.id, by=None)

    answers = await asyncio.gather(
        *(db.supervisor.api_keys.authenticate(one.plaintext) for one in issued * 5), return_exceptions=True
    )

    told = [None if isinstance(answer, BaseException) else answer.user_id for answer in answers]
    assert told == [user.id if place != 2 else None for place, user in enumerate(users)] * 5
    assert all(isinstance(answer, NotFound) for answer in answers[2::6])


async def test_a_key_that_has_ended_lets_nobody_in(db: Database, subtests: pytest.Subtests) -> None:
    for end in ("revoked", "expired", "inactive", "disabled", "archived", "removed"):
        with subtests.test(end=end):
            user = await make_user(db)
            keys = db.supervisor.api_keys
            with clock.hold(MONDAY) as hand:
                issued = await keys.issue(user.id, "ci", expires_at=MONDAY + DAY, by=None)
                hand.forward(DAY - timedelta(microseconds=1))
                assert (await keys.authenticate(issued.plaintext)).user_id == user.id
                if end == "revoked":
                    await keys.revoke(issued.key.id, by=None)
                elif end == "expired":
                    hand.forward(timedelta(microseconds=1))
                elif end == "inactive":
                    async with db.write() as unit:
                        await unit.session.execute(text("UPDATE api_keys SET is_active = false"))
                elif end == "removed":
                    await db.supervisor.users.remove(user.id)
                else:
                    await (db.supervisor.users.disable if end == "disabled" else db.supervisor.users.archive)(user.id)

                with pytest.raises(NotFound, match="no live API key"):
                    await keys.authenticate(issued.plaintext)


async def test_an_unknown_key_lets_nobody_in(db: Database) -> None:
    with pytest.raises(NotFound):
        await db.supervisor.api_keys.authenticate(new_key())


# What cannot be a key


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.none(),
        st.integers(),
        st.text("abcAEIMQUYcgkosw048-_", min_size=40, max_size=46).map("adb_".__add__),
        st.builds(lambda key, junk: key + junk, st.builds(new_key), st.text(min_size=1)),
        st.builds(lambda key, junk: junk + key, st.builds(new_key), st.text(min_size=1)),
    )
)
def test_what_cannot_be_a_key_is_refused_and_not_repeated(given_text: object) -> None:
    try:
        digest = digest_of(given_text)
    except BadInput as error:
        assert str(error) == "not an API key: adb_ and 43 characters of URL-safe base64 are expected"  # noqa: PT017
    else:
        assert isinstance(given_text, str)
        assert len(given_text) == 47
        assert digest == hashlib.sha256(given_text.encode()).hexdigest()


def test_a_key_has_one_spelling() -> None:
    key = "adb_" + "A" * 43
    assert digest_of(key)

    for last in "BCDF_-9":
        with pytest.raises(BadInput):
            digest_of(key[:-1] + last)


def test_a_key_is_told_from_a_megabyte_at_once() -> None:
    for junk in ("adb_" + "A" * 10**6, "A" * 10**6, new_key() + "\n"):
        with pytest.raises(BadInput):
            digest_of(junk)


async def test_what_cannot_be_a_key_is_refused_before_anything_is_read() -> None:
    never_opened = agentdb.connect("sqlite://")

    with pytest.raises(BadInput):
        await never_opened.supervisor.api_keys.authenticate("adb_")


# Names


async def test_a_name_is_one_live_key_of_a_user(db: Database) -> None:
    alice, bob = await make_user(db), await make_user(db)
    first = await db.supervisor.api_keys.issue(alice.id, "ci", by=None)
    await db.supervisor.api_keys.issue(bob.id, "ci", by=None)

    with pytest.raises(Conflict) as caught:
        await db.supervisor.api_keys.issue(alice.id, "ci", by=None)
    assert caught.value.constraint == "uq_api_keys__user_id_name"

    await db.supervisor.api_keys.revoke(first.key.id, by=None)
    second = await db.supervisor.api_keys.issue(alice.id, "ci", by=None)
    assert (await db.supervisor.api_keys.authenticate(second.plaintext)).key_id == second.key.id


async def test_a_key_that_has_expired_leaves_its_name(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(MONDAY) as hand:
        await db.supervisor.api_keys.issue(user.id, "ci", expires_at=MONDAY + DAY, by=None)
        hand.forward(DAY)

        again = await db.supervisor.api_keys.issue(user.id, "ci", by=None)

    assert again.key.name == "ci"


NOT_ISSUED: list[dict[str, object]] = [
    {"name": ""},
    {"name": " "},
    {"name": None},
    {"name": "x" * 256},
    {"scopes": "runs"},
    {"scopes": [7]},
    {"scopes": [""]},
    {"expires_at": MONDAY},
    {"expires_at": datetime(2999, 1, 1)},  # noqa: DTZ001
]


async def test_what_cannot_be_issued_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for wrong in NOT_ISSUED:
        with subtests.test(wrong=wrong), pytest.raises(BadInput):
            await db.supervisor.api_keys.issue(user.id, **{"name": "ci", "by": None, **wrong})  # type: ignore[arg-type]


async def test_a_key_needs_a_user(db: Database) -> None:
    with pytest.raises(MissingReference):
        await db.supervisor.api_keys.issue(10**9, "ci", by=None)

    assert await db.supervisor.audit.count(action="issue") == 0


# Rotation and revocation


async def test_a_rotated_key_lives_on_for_the_overlap(db: Database) -> None:
    user = await make_user(db)
    keys = db.supervisor.api_keys
    with clock.hold(MONDAY) as hand:
        old = await keys.issue(user.id, "ci", scopes=["runs"], metadata={"for": "builds"}, by=user.id)

        new = await keys.rotate(old.key.id, overlap_seconds=60, by=user.id)

        assert (new.key.name, new.key.scopes, new.key.metadata) == ("ci", ["runs"], {"for": "builds"})
        hand.forward(timedelta(seconds=59))
        assert (await keys.authenticate(old.plaintext)).key_id == old.key.id
        assert (await keys.authenticate(new.plaintext)).key_id == new.key.id
        hand.forward(timedelta(seconds=1))
        with pytest.raises(NotFound):
            await keys.authenticate(old.plaintext)
        assert (await keys.authenticate(new.plaintext)).key_id == new.key.id


async def test_a_key_rotated_without_overlap_ends_at_once(db: Database) -> None:
    user = await make_user(db)
    old = await db.supervisor.api_keys.issue(user.id, "ci", by=None)

    await db.supervisor.api_keys.rotate(old.key.id, by=None)

    with pytest.raises(NotFound):
        await db.supervisor.api_keys.authenticate(old.plaintext)


async def test_an_overlap_ends_with_the_old_key_and_the_new_one_lives_as_long(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(MONDAY) as hand:
        old = await db.supervisor.api_keys.issue(user.id, "ci", expires_at=MONDAY + 10 * DAY, by=None)
        now = hand.forward(9 * DAY)

        new = await db.supervisor.api_keys.rotate(old.key.id, overlap_seconds=7 * 86_400, by=None)
        last = await db.supervisor.api_keys.rotate(new.key.id, expires_at=now + DAY, by=None)

    assert (await db.supervisor.api_keys.get(old.key.id)).expires_at == MONDAY + 10 * DAY
    assert new.key.expires_at == now + 10 * DAY
    assert last.key.expires_at == now + DAY


async def test_of_many_who_rotate_a_key_at_once_one_does(db: Database) -> None:
    user = await make_user(db)
    for turn in range(5):  # in the first, connections are still being made, and calls follow one another
        old = await db.supervisor.api_keys.issue(user.id, f"turn {turn}", by=None)

        answers = await asyncio.gather(
            *(db.supervisor.api_keys.rotate(old.key.id, overlap_seconds=60, by=None) for _ in range(6)),
            return_exceptions=True,
        )

        assert sum(isinstance(answer, Issued) for answer in answers) == 1
        assert sum(isinstance(answer, InvalidTransition) for answer in answers) == 5
    assert len((await db.supervisor.api_keys.list(user.id)).items) == 10


async def test_a_key_that_has_ended_is_not_rotated(db: Database) -> None:
    user = await make_user(db)
    revoked = await db.supervisor.api_keys.issue(user.id, "ci", by=None)
    await db.supervisor.api_keys.revoke(revoked.key.id, by=None)

    with pytest.raises(InvalidTransition):
        await db.supervisor.api_keys.rotate(revoked.key.id, by=None)
    with pytest.raises(NotFound):
        await db.supervisor.api_keys.rotate(10**9, by=None)
    with pytest.raises(BadInput):
        await db.supervisor.api_keys.rotate(revoked.key.id, overlap_seconds=-1, by=None)


async def test_a_key_is_revoked_once(db: Database) -> None:
    user = await make_user(db)
    issued = await db.supervisor.api_keys.issue(user.id, "ci", by=None)

    assert await db.supervisor.api_keys.revoke(issued.key.id, by=user.id)
    assert not await db.supervisor.api_keys.revoke(issued.key.id, by=user.id)

    assert await db.supervisor.audit.count(action="revoke", entity_id=str(issued.key.id)) == 1
    with pytest.raises(NotFound):
        await db.supervisor.api_keys.revoke(10**9, by=None)


async def test_what_is_done_to_a_key_stands_in_the_audit_log(db: Database) -> None:
    user = await make_user(db)
    issued = await db.supervisor.api_keys.issue(user.id, "ci", by=user.id)
    new = await db.supervisor.api_keys.rotate(issued.key.id, by=user.id)
    await db.supervisor.api_keys.revoke(new.key.id, by=user.id)

    page = await db.supervisor.audit.of_actor(user.id)

    assert [(entry.action, entry.entity, entry.entity_id) for entry in page.items] == [
        ("revoke", "api_keys", str(new.key.id)),
        ("rotate", "api_keys", str(issued.key.id)),
        ("issue", "api_keys", str(issued.key.id)),
    ]


# Lists


async def test_keys_are_listed_newest_first_without_what_proves_them(db: Database) -> None:
    user = await make_user(db)
    issued = [await db.supervisor.api_keys.issue(user.id, f"key {number}", by=None) for number in range(5)]
    await db.supervisor.api_keys.issue((await make_user(db)).id, "another", by=None)

    first = await db.supervisor.api_keys.list(user.id, limit=3)
    rest = await db.supervisor.api_keys.list(user.id, limit=3, after=first.next)

    assert [key.name for key in first.items + rest.items] == [f"key {number}" for number in (4, 3, 2, 1, 0)]
    assert not {field.name for field in fields(KeyEntry)} & {"digest", "secret"}
    listed = str([asdict(key) for key in first.items + rest.items])
    for one in issued:
        assert one.plaintext not in listed
        assert digest_of(one.plaintext) not in listed
    assert (await db.supervisor.api_keys.list(user.id, kind="provider")).items == []
    assert len((await db.supervisor.api_keys.list(user.id, kind="access")).items) == 5


async def test_keys_that_expired_are_removed_a_few_at_a_time(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(MONDAY) as hand:
        for number in range(5):
            expires_at = MONDAY + (number + 1) * DAY
            await db.supervisor.api_keys.issue(user.id, f"key {number}", expires_at=expires_at, by=None)
        await db.supervisor.api_keys.issue(user.id, "for ever", by=None)
        now = hand.forward(3 * DAY + timedelta(seconds=1))

        removed = [await db.supervisor.api_keys.remove_expired(now, limit=2) for _ in range(3)]

    assert removed == [2, 1, 0]
    left = (await db.supervisor.api_keys.list(user.id)).items
    assert [key.name for key in left] == ["for ever", "key 4", "key 3"]


OVERLAPS: list[float] = [1e12, 8.6e13, float("inf"), float("nan"), 10**30, -1]


async def test_an_overlap_that_no_calendar_has_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)
    old = await db.supervisor.api_keys.issue(user.id, "k", by=None)

    for overlap in OVERLAPS:
        with subtests.test(overlap=overlap):
            with pytest.raises(BadInput, match="an overlap has"):
                await db.supervisor.api_keys.rotate(old.key.id, overlap_seconds=overlap, by=None)

            assert (await db.supervisor.api_keys.authenticate(old.plaintext)).key_id == old.key.id


async def test_a_key_for_thousands_of_years_is_rotated_too(db: Database) -> None:
    user = await make_user(db)
    old = await db.supervisor.api_keys.issue(user.id, "k", expires_at=datetime(9999, 12, 31, tzinfo=UTC), by=None)

    with clock.hold(datetime(2036, 1, 1, tzinfo=UTC)):
        new = await db.supervisor.api_keys.rotate(old.key.id, by=None)

    assert new.key.expires_at is None
