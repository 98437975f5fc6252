"""Agents: one for each owner and name, whoever asks."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from agentdb.database import Database
from agentdb.errors import MissingReference, NotFound


async def test_of_many_who_make_an_agent_exactly_one_does(db: Database) -> None:
    answers = await asyncio.gather(*(db.catalog.agents.get_or_create("helper") for _ in range(20)))

    assert sum(created for _, created in answers) == 1
    assert len({agent.id for agent, _ in answers}) == 1


async def test_an_agent_keeps_what_it_was_made_with(db: Database) -> None:
    made, _ = await db.catalog.agents.get_or_create("helper", description="helps", config={"tone": "calm"})
    await db.catalog.agents.update(made.id, name="Helper the First")

    found, created = await db.catalog.agents.get_or_create("helper", description="does not")

    assert not created
    assert (found.id, found.name, found.description) == (made.id, "Helper the First", "helps")
    assert (await db.catalog.agents.by_uuid(made.uuid)).config == {"tone": "calm"}


async def test_a_users_own_agent_is_another_than_everybodys(db: Database) -> None:
    user = await db.supervisor.users.create("ada")

    everybodys, _ = await db.catalog.agents.get_or_create("helper")
    own, created = await db.catalog.agents.get_or_create("helper", user_id=user.id)

    assert created
    assert own.id != everybodys.id
    assert [agent.id for agent in (await db.catalog.agents.list()).items] == [everybodys.id]
    assert [agent.id for agent in (await db.catalog.agents.list(user_id=user.id)).items] == [own.id]


async def test_an_agent_of_nobody_known_is_refused(db: Database) -> None:
    with pytest.raises(MissingReference):
        await db.catalog.agents.get_or_create("helper", user_id=404)
    with pytest.raises(NotFound):
        await db.catalog.agents.by_uuid(uuid.uuid4())
