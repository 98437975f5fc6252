"""Prompts: versions without gaps, which stay as they are once an agent has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, InvalidTransition, NotFound


async def test_versions_follow_one_another(db: Database) -> None:
    first = await db.catalog.prompts.publish("helper", "one")
    second = await db.catalog.prompts.publish("helper", "two")
    other = await db.catalog.prompts.publish("other", "one")

    assert [prompt.version for prompt in (first, second, other)] == [1, 2, 1]
    assert (await db.catalog.prompts.latest("helper")).content == "two"
    assert (await db.catalog.prompts.version("helper", 1)).content == "one"
    assert [(prompt.name, prompt.version) for prompt in (await db.catalog.prompts.list()).items] == [
        ("helper", 2),
        ("other", 1),
    ]
    for missing in (db.catalog.prompts.latest("unheard-of"), db.catalog.prompts.version("helper", 3)):
        with pytest.raises(NotFound):
            await missing


async def test_those_who_publish_at_once_get_one_version_each_without_a_gap(db: Database) -> None:
    published = await asyncio.gather(*(db.catalog.prompts.publish("helper", f"text {n}") for n in range(25)))

    assert sorted(prompt.version for prompt in published) == list(range(1, 26))
    page = await db.catalog.prompts.versions("helper", limit=10)
    rest = await db.catalog.prompts.versions("helper", limit=100, after=page.next)
    assert [prompt.version for prompt in [*page.items, *rest.items]] == list(range(25, 0, -1))


async def test_a_version_that_an_agent_has_is_not_changed(db: Database) -> None:
    used, free = await db.catalog.prompts.publish("helper", "one"), await db.catalog.prompts.publish("helper", "two")
    agent = await db.catalog.agents.create("helper", prompt_id=used.id)

    corrected = await db.catalog.prompts.update(free.id, "two, corrected")

    assert corrected.content == "two, corrected"
    with pytest.raises(InvalidTransition, match="version 1 of prompt 'helper'"):
        await db.catalog.prompts.update(used.id, "changed")
    with pytest.raises(InvalidTransition):
        await db.catalog.prompts.remove(used.id)
    assert (await db.catalog.prompts.get(used.id)).content == "one"
    await db.catalog.agents.remove(agent.id)
    assert await db.catalog.prompts.remove(used.id)
    assert not await db.catalog.prompts.remove(used.id)
    with pytest.raises(NotFound):
        await db.catalog.prompts.update(used.id, "gone")


async def test_an_agent_that_is_about_to_have_a_prompt_keeps_it_as_it_is(db: Database) -> None:
    prompt = await db.catalog.prompts.publish("helper", "one")

    async with db.write() as unit:
        await unit.catalog.agents.create("helper", prompt_id=prompt.id)
        changing = asyncio.create_task(db.catalog.prompts.update(prompt.id, "changed"))
        removing = asyncio.create_task(db.catalog.prompts.remove(prompt.id))
        await asyncio.sleep(0.2)  # on PostgreSQL both have begun, and wait for the agent's reference
    outcomes = await asyncio.gather(changing, removing, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [InvalidTransition, InvalidTransition]
    assert (await db.catalog.prompts.get(prompt.id)).content == "one"


NO_NAMES: list[Any] = [" ", 5, None]


async def test_a_prompt_without_a_name_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for name in NO_NAMES:
        with subtests.test(name=name), pytest.raises(BadInput):
            await db.catalog.prompts.publish(name, "text")
