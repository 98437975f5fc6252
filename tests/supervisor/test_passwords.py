"""Passwords: argon2id, as much work for a stranger, and hashes from elsewhere."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import bcrypt
import pytest
from argon2.profiles import CHEAPEST

from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound, StaleVersion
from agentdb.models import User
from agentdb.supervisor.hashing import AT_ONCE, Hasher
from agentdb.supervisor.passwords import Passwords
from agentdb.testing.factories import make_user

GOOD = "correct horse battery"
LONG = "ä" * 40  # 80 bytes


class CountingHasher(Hasher):
    """Remembers what it was asked to compute, and in which thread."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.made: list[bytes] = []
        self.compared: list[str] = []
        self.threads: set[int] = set()

    def hash_now(self, password: bytes) -> str:
        self.made.append(password)
        self.threads.add(threading.get_ident())
        return super().hash_now(password)

    def agrees_now(self, stored: str, password: bytes | None) -> bool:
        self.compared.append(stored)
        self.threads.add(threading.get_ident())
        return super().agrees_now(stored, password)


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher(parameters=CHEAPEST)


@pytest.fixture
def passwords(db: Database, hasher: Hasher) -> Passwords:
    return Passwords(db._over, hasher=hasher)


async def test_a_password_is_kept_as_argon2id_of_the_low_memory_profile(db: Database) -> None:
    ada = await make_user(db, email="ada@example.org")

    await db.supervisor.passwords.set(ada.id, GOOD)

    kept = (await db.supervisor.users.get(ada.id)).password_hash
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    for login in (ada.username, "Ada@Example.ORG "):
        found = await db.supervisor.passwords.verify(login, GOOD)
        assert found is not None
        assert found.id == ada.id
    assert await db.supervisor.passwords.verify(ada.username, GOOD + "!") is None
    assert (await db.supervisor.users.get(ada.id)).password_hash == kept


async def test_a_stranger_costs_as_much_as_a_user(db: Database, passwords: Passwords, hasher: CountingHasher) -> None:
    ada, bare, gone = [await make_user(db) for _ in range(3)]
    for user in (ada, gone):
        await passwords.set(user.id, GOOD)
    await db.supervisor.users.disable(gone.id)
    hasher.made.clear()

    for login in (
        ada.username,
        bare.username,
        gone.username,
        "nobody",
        "no body",
        "a@b",
        "@",
        "x" * 300,
        "\0",
        "\ud800",
    ):
        hasher.compared.clear()
        found = await passwords.verify(login, GOOD)

        assert (found is not None) == (login == ada.username)
        (stored,) = hasher.compared
        assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert hasher.made == []


async def test_hashes_are_computed_outside_of_the_loops_thread(
    db: Database, passwords: Passwords, hasher: CountingHasher
) -> None:
    ada = await make_user(db)
    await passwords.set(ada.id, GOOD)
    await passwords.verify(ada.username, GOOD)

    assert hasher.threads
    assert threading.get_ident() not in hasher.threads


async def test_what_is_no_password_is_refused_before_any_work(
    db: Database, passwords: Passwords, hasher: CountingHasher, subtests: pytest.Subtests
) -> None:
    ada = await make_user(db)

    for password in ("", "1234567", "a" * 129, "\ud800" * 8, "é" * 7):
        with subtests.test(password=password):
            with pytest.raises(BadInput) as refused:
                await passwords.set(ada.id, password)

            assert not password or password not in str(refused.value)
            assert hasher.made == []
            assert await passwords.verify(ada.username, password) is None


async def test_a_password_of_more_than_72_bytes_counts_to_its_end(db: Database, passwords: Passwords) -> None:
    ada = await make_user(db)
    await passwords.set(ada.id, LONG + "1")

    assert await passwords.verify(ada.username, LONG + "1") is not None
    assert await passwords.verify(ada.username, LONG + "2") is None


async def test_a_bcrypt_hash_is_taken_over_and_replaced_at_the_next_login(
    db: Database, passwords: Passwords, subtests: pytest.Subtests
) -> None:
    for version in (b"2a", b"2b", b"2y"):
        with subtests.test(version=version):
            ada = await make_user(db)
            made = bcrypt.hashpw(GOOD.encode(), bcrypt.gensalt(4)).replace(b"$2b$", b"$" + version + b"$")
            await passwords.bring(ada.id, made.decode())

            assert await passwords.verify(ada.username, "wrong " + GOOD) is None
            assert (await db.supervisor.users.get(ada.id)).password_hash == made.decode()
            assert await passwords.verify(ada.username, GOOD) is not None

            replaced = (await db.supervisor.users.get(ada.id)).password_hash
            assert replaced is not None
            assert replaced.startswith("$argon2id$")
            assert await passwords.verify(ada.username, GOOD) is not None
            assert (await db.supervisor.users.get(ada.id)).password_hash == replaced


async def test_more_than_72_bytes_never_match_a_bcrypt_hash(
    db: Database, passwords: Passwords, hasher: CountingHasher
) -> None:
    ada = await make_user(db)
    made = bcrypt.hashpw(b"a" * 72, bcrypt.gensalt(4)).decode()
    await passwords.bring(ada.id, made)

    assert await passwords.verify(ada.username, "a" * 73) is None

    (compared,) = hasher.compared
    assert compared.startswith("$argon2id$")  # a whole hash was computed, of nobody
    assert await passwords.verify(ada.username, "a" * 72) is not None


async def test_a_hash_of_another_kind_is_refused_without_repeating_it(
    db: Database, passwords: Passwords, subtests: pytest.Subtests
) -> None:
    ada = await make_user(db)

    for foreign in ("", GOOD, "$2x$04$" + "a" * 53, "$argon2i$v=19$m=8,t=1,p=1$YWE$YWE", "$2b$04$short"):
        with subtests.test(foreign=foreign):
            with pytest.raises(BadInput, match="argon2id") as refused:
                await passwords.bring(ada.id, foreign)

            assert not foreign or foreign not in str(refused.value)


async def test_a_hash_of_other_parameters_is_replaced_unless_the_password_was_changed_meanwhile(db: Database) -> None:
    ada = await make_user(db)
    old, new = Passwords(db._over, hasher=Hasher(CHEAPEST)), db.supervisor.passwords

    class Slow(Hasher):
        async def rehash(self, password: str) -> str:
            await old.set(ada.id, "changed meanwhile")
            return await super().rehash(password)

    await old.set(ada.id, GOOD)
    assert await Passwords(db._over, hasher=Slow()).verify(ada.username, GOOD) is not None
    assert await new.verify(ada.username, GOOD) is None

    assert await new.verify(ada.username, "changed meanwhile") is not None
    kept = (await db.supervisor.users.get(ada.id)).password_hash
    assert kept is not None
    assert "$m=65536," in kept


async def test_a_new_password_ends_the_other_sessions(db: Database, passwords: Passwords) -> None:
    ada = await make_user(db)
    one, other = [await db.supervisor.logins.start(ada.id) for _ in range(2)]

    await passwords.set(ada.id, GOOD, but=one.session.session_id, by=ada.id)

    assert await db.supervisor.logins.authenticate(one.token) == one.session
    with pytest.raises(NotFound):
        await db.supervisor.logins.authenticate(other.token)
    (entry,) = (await db.supervisor.audit.of_entity("users", ada.id, limit=1)).items
    assert (entry.action, entry.actor_user_id, entry.detail) == ("set_password", ada.id, {"sessions": 1})
    with pytest.raises(NotFound):
        await passwords.set(404, GOOD)


async def test_a_password_is_changed_by_who_knows_it_and_by_one_at_a_time(db: Database, passwords: Passwords) -> None:
    ada = await make_user(db)
    assert not await passwords.change(ada.id, GOOD, current="")
    await passwords.set(ada.id, GOOD)

    assert not await passwords.change(ada.id, "another one", current="wrong")
    answers = await asyncio.gather(
        *(passwords.change(ada.id, f"password {number}", current=GOOD) for number in range(3)), return_exceptions=True
    )

    kinds = [type(answer) for answer in answers]
    assert kinds.count(bool) == 1 or set(kinds) <= {bool, StaleVersion}
    assert sum(answer is True for answer in answers) == 1
    (changed,) = [number for number, answer in enumerate(answers) if answer is True]
    assert await passwords.verify(ada.username, f"password {changed}") is not None


async def test_a_password_is_cleared_only_beside_a_passkey(db: Database, passwords: Passwords) -> None:
    ada = await make_user(db)
    assert not await passwords.clear(ada.id)
    await passwords.set(ada.id, GOOD)
    with pytest.raises(InvalidTransition, match="add a passkey first"):
        await passwords.clear(ada.id)
    assert await passwords.verify(ada.username, GOOD) is not None
    await db.supervisor.passkeys.enroll(ada.id, credential_id="c", public_key="k")
    one, other = [await db.supervisor.logins.start(ada.id) for _ in range(2)]

    assert await passwords.clear(ada.id, but=one.session.session_id)

    assert await passwords.verify(ada.username, GOOD) is None
    assert [session.id for session in (await db.supervisor.logins.of_user(ada.id)).items] == [one.session.session_id]
    assert other.token
    with pytest.raises(NotFound):
        await passwords.clear(404)


BAD_HASHES: tuple[Any, ...] = (
    "$2b$31$" + "a" * 53,  # days
    "$2b$17$" + "a" * 53,
    "$2b$10$" + "a" * 52,
    "$argon2id$v=19$m=4194304,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43,  # 4 GiB
    "$argon2id$v=19$m=65536,t=1000,p=4$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43,
    "$argon2id$v=19$m=65536,t=3,p=200$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43,
    "$argon2id$v=19$m=8,t=1,p=4$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43,  # too little for its lanes
    "$argon2id$v=19$m=65536,t=0,p=4$c29tZXNhbHRzb21lc2FsdA$" + "a" * 43,
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "a" * 41,  # no base64 has this length
    "$argon2id$v=19$m=65536,t=3,p=4$c29t$" + "a" * 43,
    5,
)


async def test_a_hash_that_cannot_be_checked_in_reason_is_not_brought(db: Database, subtests: pytest.Subtests) -> None:
    ada = await make_user(db)

    for bad in BAD_HASHES:
        with subtests.test(bad=bad):
            with pytest.raises(BadInput) as caught:
                await db.supervisor.passwords.bring(ada.id, bad)

            assert str(bad) not in str(caught.value) or bad == 5
            assert (await db.supervisor.users.get(ada.id)).password_hash is None


async def test_a_hash_that_came_past_the_bounds_costs_no_more_than_a_stranger(
    db: Database, passwords: Passwords, hasher: CountingHasher
) -> None:
    ada = await make_user(db)
    async with db.write() as unit:
        user = await unit.session.get_one(User, ada.id)
        user.password_hash = BAD_HASHES[0]

    assert await passwords.verify(ada.username, GOOD) is None

    assert BAD_HASHES[0] not in hasher.compared


async def test_an_old_hash_is_checked_in_a_unit_that_only_reads(db: Database) -> None:
    ada = await make_user(db)
    old = bcrypt.hashpw(GOOD.encode(), bcrypt.gensalt(4)).decode()
    await db.supervisor.passwords.bring(ada.id, old)

    async with db.read() as unit:
        found = await unit.supervisor.passwords.verify(ada.username, GOOD)
        assert await unit.supervisor.users.count() == 1  # the unit goes on

    assert found is not None
    assert (await db.supervisor.users.get(ada.id)).password_hash == old


class HeldHasher(Hasher):
    """Computes until it is told to stop, and knows how many are at it."""

    def __init__(self) -> None:
        super().__init__(CHEAPEST)
        self.go_on = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = self.begun = 0

    def agrees_now(self, stored: str, password: bytes | None) -> bool:  # noqa: ARG002
        with self.lock:
            self.begun += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self.go_on.wait(30)
        with self.lock:
            self.now -= 1
        return False


async def test_who_is_cancelled_leaves_the_place_when_the_thread_ends() -> None:
    hasher = HeldHasher()
    first = [asyncio.ensure_future(hasher.matches(None, GOOD)) for _ in range(AT_ONCE)]
    while hasher.begun < AT_ONCE:  # noqa: ASYNC110 (threads, which no event of the loop knows)
        await asyncio.sleep(0.01)

    for task in first:
        task.cancel()
    await asyncio.gather(*first, return_exceptions=True)
    late = [asyncio.ensure_future(hasher.matches(None, GOOD)) for _ in range(AT_ONCE)]
    await asyncio.sleep(0.2)
    hasher.go_on.set()
    answers = await asyncio.wait_for(asyncio.gather(*late), 30)

    assert all(task.cancelled() for task in first)
    assert answers == [False] * AT_ONCE
    assert hasher.most == AT_ONCE
    assert hasher.begun == 2 * AT_ONCE
