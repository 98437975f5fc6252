"""Users: made once, found whatever the case of their address."""

from __future__ import annotations

import asyncio

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, MissingReference, NotFound
from agentdb.supervisor.models import UserKind, UserStatus
from agentdb.unit import Unit


async def test_a_user_is_a_human_unless_said_otherwise(db: Database) -> None:
    ada = await db.supervisor.users.create("ada")
    robot = await db.supervisor.users.create("robot_1", kind="agent")
    timer = await db.supervisor.users.create("timer", kind=UserKind.service)

    assert [ada.kind, robot.kind, timer.kind] == [UserKind.human, UserKind.agent, UserKind.service]
    assert ada.status is UserStatus.active
    assert (await db.supervisor.users.get(ada.id)).uuid == ada.uuid


async def test_a_username_with_other_characters_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for username in ("", "a b", "é", "a" * 65, "a.b", "a\n"):
        with subtests.test(username=username), pytest.raises(BadInput, match="a username has 1 to 64 letters"):
            await db.supervisor.users.create(username)


async def test_an_address_is_kept_and_found_in_lower_case(db: Database) -> None:
    ada = await db.supervisor.users.create("ada", email=" Ada@Example.ORG ")

    assert ada.email == "ada@example.org"
    assert (await db.supervisor.users.by_email("ADA@example.org")).id == ada.id
    assert (await db.supervisor.users.update(ada.id, email="Ada.L@Example.org")).email == "ada.l@example.org"


async def test_what_is_no_address_is_refused(db: Database) -> None:
    with pytest.raises(BadInput, match="is not an e-mail address"):
        await db.supervisor.users.create("ada", email="ada at home")


async def test_names_and_addresses_are_taken_once(db: Database) -> None:
    await db.supervisor.users.create("ada", email="ada@example.org")

    with pytest.raises(Conflict) as named:
        await db.supervisor.users.create("ada")
    with pytest.raises(Conflict) as addressed:
        await db.supervisor.users.create("grace", email="ADA@example.org")
    assert named.value.constraint == "uq_users__username"
    assert addressed.value.constraint == "uq_users__email"


async def test_an_unknown_lead_is_a_missing_reference(db: Database) -> None:
    with pytest.raises(MissingReference):
        await db.supervisor.users.create("ada", lead_user_id=404)


async def test_whoever_is_not_there_is_not_found(db: Database) -> None:
    with pytest.raises(NotFound, match="there is no user 'nobody'"):
        await db.supervisor.users.by_username("nobody")
    with pytest.raises(NotFound):
        await db.supervisor.users.by_email("nobody@example.org")
    assert await db.supervisor.users.find(404) is None


async def test_users_are_listed_by_name_and_page(db: Database) -> None:
    for username in ("dora", "Zoe", "ada", "carl"):
        await db.supervisor.users.create(username)
    await db.supervisor.users.create("bot", kind="agent")
    await db.supervisor.users.create("gone", status="archived")

    first = await db.supervisor.users.list(kind="human", status="active", limit=3)
    second = await db.supervisor.users.list(kind="human", status="active", limit=3, after=first.next)

    assert [user.username for user in first.items] == ["Zoe", "ada", "carl"]
    assert [user.username for user in second.items] == ["dora"]
    assert second.next is None
    assert [user.username for user in (await db.supervisor.users.list(kind="agent")).items] == ["bot"]


async def test_of_many_who_make_a_user_exactly_one_does(db: Database) -> None:
    answers = await asyncio.gather(*(db.supervisor.users.get_or_create("ada", title="Countess") for _ in range(20)))

    assert sum(created for _, created in answers) == 1
    assert len({user.id for user, _ in answers}) == 1
    assert await db.supervisor.users.count() == 1


async def test_a_user_who_is_there_stays_as_they_are(unit: Unit) -> None:
    ada = await unit.supervisor.users.create("ada", title="Countess")

    found, created = await unit.supervisor.users.get_or_create("ada", title="Lady")

    assert not created
    assert (found.id, found.title, found.version) == (ada.id, "Countess", 1)


async def test_every_way_to_write_a_user_checks_the_name(db: Database) -> None:
    await db.supervisor.users.add_many([{"username": "ada", "email": "ADA@example.org"}])

    changed = await db.supervisor.users.upsert(on=["username"], username="ada", email="Countess@Example.org")

    assert changed.email == "countess@example.org"
    with pytest.raises(BadInput):
        await db.supervisor.users.add_many([{"username": "a b"}])
    with pytest.raises(BadInput):
        await db.supervisor.users.update(changed.id, username="a b")
    with pytest.raises(BadInput):
        await db.supervisor.users.get_or_create("a b")
