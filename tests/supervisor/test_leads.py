"""Leads: trees at every moment, whoever changes them."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, MissingReference, NotFound
from agentdb.models import User, UserStatus
from agentdb.supervisor.access import Permission
from agentdb.testing.factories import make_user
from agentdb.unit import Unit


async def make_chain(db: Database, length: int) -> list[User]:
    """Make users each of whom leads the next."""
    chain = [await make_user(db) for _ in range(length)]
    for lead, led in pairwise(chain):
        await db.supervisor.leads.set_lead(led.id, lead.id)
    return chain


async def leads_of_all(unit: Unit) -> dict[int, int | None]:
    """Return everybody's lead, as of one moment."""
    return {user.id: user.lead_user_id async for user in unit.supervisor.users.stream()}


def assert_forest(leads: dict[int, int | None]) -> None:
    """See that whoever one begins with, the way up ends."""
    for begin in leads:
        seen: set[int] = set()
        at: int | None = begin
        while at is not None:
            assert at not in seen, f"a circle through user {at}"
            seen.add(at)
            at = leads[at]


async def test_leads_are_read_upwards_and_downwards(db: Database) -> None:
    top, middle, low = await make_chain(db, 3)
    beside = await make_user(db, lead_user_id=top.id)
    leads = db.supervisor.leads

    assert [(one.id, one.depth) for one in await leads.descendants(top.id)] == [
        (middle.id, 1),
        (beside.id, 1),
        (low.id, 2),
    ]
    assert [one.id for one in await leads.descendants(middle.id, including=True)] == [middle.id, low.id]
    assert [(one.username, one.depth) for one in await leads.leads(low.id)] == [(middle.username, 1), (top.username, 2)]
    assert await leads.leads(top.id) == []
    assert await leads.descendants(404) == []
    with pytest.raises(NotFound):
        await leads.leads(404)


async def test_nobody_leads_themselves(db: Database) -> None:
    top, middle, low = await make_chain(db, 3)

    for lead in (low, middle, top):
        with pytest.raises(BadInput, match="cannot become its lead"):
            await db.supervisor.leads.set_lead(top.id, lead.id)
    with pytest.raises(MissingReference):
        await db.supervisor.leads.set_lead(low.id, 404)
    with pytest.raises(NotFound):
        await db.supervisor.leads.set_lead(404, top.id)
    with pytest.raises(BadInput, match="no lead yet"):
        await db.supervisor.users.add_many([{"id": 98, "username": "a", "lead_user_id": 98}])


async def test_a_lead_is_changed_and_cleared_and_the_log_tells_of_it(db: Database) -> None:
    top, middle, low = await make_chain(db, 3)

    moved = await db.supervisor.leads.set_lead(low.id, top.id, by=top.id)
    same = await db.supervisor.leads.set_lead(low.id, top.id)
    cleared = await db.supervisor.leads.set_lead(low.id, None)

    assert [user.lead_user_id for user in (moved, same, cleared)] == [top.id, top.id, None]
    assert (moved.version, same.version) == (3, 3)
    entries = (await db.supervisor.audit.of_entity("users", low.id)).items
    assert [entry.detail for entry in entries if entry.action == "set_lead"] == [
        {"from": top.id, "to": None},
        {"from": middle.id, "to": top.id},
        {"from": None, "to": middle.id},
    ]
    assert entries[1].actor_user_id == top.id


async def test_two_who_would_lead_each_other_are_not_both_granted(db: Database) -> None:
    for _ in range(10):
        ada, bob = await make_user(db), await make_user(db)

        answers = await asyncio.gather(
            db.supervisor.leads.set_lead(ada.id, bob.id),
            db.supervisor.leads.set_lead(bob.id, ada.id),
            return_exceptions=True,
        )

        assert {type(answer) for answer in answers} == {User, BadInput}


async def test_leads_are_a_forest_at_every_moment(db: Database) -> None:
    users = [(await make_user(db)).id for _ in range(8)]
    chance = random.Random(7)  # noqa: S311 (the same changes each time)
    running = True

    async def change() -> int:
        granted = 0
        for _ in range(25):
            user, lead = chance.choice(users), chance.choice([*users, None])
            try:
                await db.supervisor.leads.set_lead(user, lead)
                granted += 1
            except BadInput:
                pass
        return granted

    async def watch() -> int:
        looks = 0
        while running:
            async with db.read() as unit:
                assert_forest(await leads_of_all(unit))
            looks += 1
            await asyncio.sleep(0)
        return looks

    watching = asyncio.create_task(watch())
    try:
        granted = await asyncio.gather(*(change() for _ in range(8)))
    finally:
        running = False

    assert sum(granted) > 25
    assert await watching > 1
    async with db.read() as unit:
        assert_forest(await leads_of_all(unit))


async def test_a_circle_that_somebody_else_stored_does_not_hang_a_read(db: Database) -> None:
    top, middle, low = await make_chain(db, 3)
    under = await make_user(db, lead_user_id=low.id)
    async with db.write() as unit:
        (await unit.session.get_one(User, top.id)).lead_user_id = low.id

    assert [one.id for one in await db.supervisor.leads.descendants(top.id)] == [middle.id, low.id, under.id]
    assert [one.id for one in await db.supervisor.leads.leads(under.id)] == [low.id, middle.id, top.id]
    with pytest.raises(BadInput):
        await db.supervisor.leads.set_lead(middle.id, under.id)
    assert (await db.supervisor.leads.set_lead(top.id, None)).lead_user_id is None


async def test_a_tree_is_disabled_and_enabled_as_one(db: Database) -> None:
    top, middle, low = await make_chain(db, 3)
    outside = await make_user(db)
    gone = await make_user(db, lead_user_id=top.id, status="archived")
    await db.supervisor.users.disable(middle.id)
    key = await db.supervisor.runtime_keys.issue(low.id)

    assert await db.supervisor.leads.disable_tree(top.id, by=outside.id) == [top.id, low.id]

    standing = {user.id: user.status async for user in db.supervisor.users.stream()}
    assert standing == {
        top.id: UserStatus.disabled,
        middle.id: UserStatus.disabled,
        low.id: UserStatus.disabled,
        outside.id: UserStatus.active,
        gone.id: UserStatus.archived,
    }
    assert (await db.supervisor.audit.of_entity("users", low.id)).items[0].action == "disable"
    assert await db.supervisor.leads.enable_tree(top.id) == [top.id, middle.id, low.id]
    with pytest.raises(NotFound):
        await db.supervisor.runtime_keys.user_of(key)
    with pytest.raises(NotFound):
        await db.supervisor.leads.disable_tree(404)


async def test_a_tree_with_all_administrators_stays(db: Database) -> None:
    top, low = await make_chain(db, 2)
    for user in (top, low):
        await db.supervisor.permissions.grant(user.id, Permission.supervisor_admin, by=None)

    with pytest.raises(InvalidTransition, match="all administrators are led by"):
        await db.supervisor.leads.disable_tree(top.id)

    assert await db.supervisor.users.count(status="active") == 2
    other = await make_user(db)
    await db.supervisor.permissions.grant(other.id, Permission.supervisor_admin, by=None)
    assert await db.supervisor.leads.disable_tree(top.id) == [top.id, low.id]
