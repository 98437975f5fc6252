"""Agents: one for each owner and name, whoever asks."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.testing.factories import make_user


@pytest.mark.long
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


async def test_a_user_sees_own_agents_and_everybodys_the_newest_first(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    made = []
    for number in range(9):
        owner = (None, user.id, other.id)[number % 3]
        made.append(await db.catalog.agents.create(f"agent {number}", user_id=owner, visible=number != 3))
    hidden = await db.catalog.agents.create("mine, hidden", user_id=user.id, visible=False)

    seen: list[int] = []
    after = None
    while True:
        page = await db.catalog.agents.visible_to(user.id, limit=2, after=after)
        seen += [agent.id for agent in page.items]
        if (after := page.next) is None:
            break

    assert seen == [hidden.id, *(made[number].id for number in (7, 6, 4, 1, 0))]


async def test_an_agent_has_exactly_the_tools_that_were_set(db: Database) -> None:
    for name in ("browse", "code", "search", "think"):
        await db.catalog.tools.create(name)
    agent = await db.catalog.agents.create("helper", tools=["think", "browse"])

    first = await db.catalog.agents.tools_of(agent.id)
    answer = await db.catalog.agents.set_tools(agent.id, ["search", "browse", "browse"])

    assert [tool.name for tool in first] == ["browse", "think"]
    assert [tool.name for tool in answer] == ["browse", "search"]
    assert [tool.name for tool in await db.catalog.agents.tools_of(agent.id)] == ["browse", "search"]
    assert await db.catalog.agents.set_tools(agent.id, []) == []
    assert await db.catalog.agents.tools_of(agent.id) == []


async def test_unknown_tools_are_all_named_and_nothing_changes(db: Database) -> None:
    await db.catalog.tools.create("browse")
    await db.catalog.tools.create("code")
    agent = await db.catalog.agents.create("helper", tools=["browse"])

    with pytest.raises(MissingReference, match="'fly', 'swim'"):
        await db.catalog.agents.set_tools(agent.id, ["code", "swim", "fly"])
    with pytest.raises(MissingReference, match="'fly'"):
        await db.catalog.agents.create("other", tools=["browse", "fly"])
    with pytest.raises(BadInput):
        await db.catalog.agents.set_tools(agent.id, "browse")
    with pytest.raises(NotFound):
        await db.catalog.agents.set_tools(404, ["code"])

    assert [tool.name for tool in await db.catalog.agents.tools_of(agent.id)] == ["browse"]
    assert await db.catalog.agents.count() == 1


async def test_tools_set_at_once_are_one_callers_and_never_a_mixture(db: Database) -> None:
    for name in "abcdef":
        await db.catalog.tools.create(name)
    agent = await db.catalog.agents.create("helper")
    sets = [["a", "b"], ["c", "d"], ["e", "f"], ["a", "f"]]

    await asyncio.gather(*(db.catalog.agents.set_tools(agent.id, names) for names in sets * 5))

    assert [tool.name for tool in await db.catalog.agents.tools_of(agent.id)] in sets


async def test_a_clone_is_another_agent_with_the_same_tools(db: Database) -> None:
    user, other = await make_user(db), await make_user(db)
    await db.catalog.tools.create("browse")
    prompt = await db.catalog.prompts.publish("helper", "help")
    details: dict[str, Any] = {
        "prompt_id": prompt.id,
        "config": {"tone": "calm"},
        "metadata": {"a": 1},
        "is_system": True,
    }
    agent = await db.catalog.agents.create("helper", tools=["browse"], **details)
    own = await db.catalog.agents.create("mine", user_id=user.id)
    hidden = await db.catalog.agents.create("hidden", visible=False)

    clone = await db.catalog.agents.clone(agent.id, user_id=user.id)
    renamed = await db.catalog.agents.clone(own.id, user_id=user.id, name="mine, too")
    everybodys = await db.catalog.agents.clone(own.id, user_id=None)

    assert clone.id != agent.id
    assert clone.uuid != agent.uuid
    assert (clone.user_id, clone.name, clone.prompt_id, clone.is_system) == (user.id, "helper", prompt.id, False)
    assert (clone.config, clone.metadata_) == ({"tone": "calm"}, {"a": 1})
    assert [tool.name for tool in await db.catalog.agents.tools_of(clone.id)] == ["browse"]
    assert (renamed.name, everybodys.user_id) == ("mine, too", None)
    for unseen in (own, hidden):
        with pytest.raises(NotFound):
            await db.catalog.agents.clone(unseen.id, user_id=other.id)


async def test_an_agent_is_given_to_users_in_a_role(db: Database) -> None:
    user = await make_user(db)
    agents = [await db.catalog.agents.create(f"agent {number}") for number in range(3)]
    for agent in agents:
        await db.catalog.user_agents.give(user.id, agent.id, role="reader")

    changed = await db.catalog.user_agents.give(user.id, agents[0].id, role="editor")
    first = await db.catalog.user_agents.list(user.id, limit=2)
    rest = await db.catalog.user_agents.list(user.id, limit=2, after=first.next)

    assert changed.role == "editor"
    listed = [*first.items, *rest.items]
    assert [(entry.agent.name, entry.role) for entry in listed] == [
        ("agent 0", "editor"),
        ("agent 1", "reader"),
        ("agent 2", "reader"),
    ]
    assert await db.catalog.user_agents.take(user.id, agents[0].id)
    assert not await db.catalog.user_agents.take(user.id, agents[0].id)
    assert await db.catalog.user_agents.find(user.id, agents[0].id) is None
    with pytest.raises(MissingReference):
        await db.catalog.user_agents.give(user.id, 404)


NO_NAMES: list[Any] = [" ", 5, None]


async def test_an_agent_without_a_name_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for name in NO_NAMES:
        with subtests.test(name=name), pytest.raises(BadInput):
            await db.catalog.agents.create(name)
