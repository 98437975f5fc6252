"""Which passages and memories are nearest: the same in the same order on both databases, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.testing.factories import make_user

Numbers = np.ndarray[Any, np.dtype[np.float32]]


def spread(many: int, dimension: int) -> Numbers:
    return np.random.default_rng(3).standard_normal((many, dimension)).astype(np.float32)


async def test_memories_in_the_same_direction_are_equally_near_and_the_latest_comes_first(db: Database) -> None:
    agent = (await db.catalog.agents.create("helper")).id
    query, direction = spread(1, 64)[0], np.arange(1, 65)
    for number in range(40):  # whole numbers: float32 holds each multiple, and all point the same way
        await db.knowledge.memories.remember(agent, str(number), embedding=direction * (3 * number + 1))

    found = await db.knowledge.memories.near(agent, query, limit=5)
    hits = await db.knowledge.hybrid.search(
        (await make_user(db)).id, vector=query, agent_id=agent, sources=["memory"], limit=5
    )

    assert [memory.content for memory, _ in found] == ["39", "38", "37", "36", "35"]
    assert len({similarity for _, similarity in found}) == 1
    assert [hit.row.content for hit in hits] == ["39", "38", "37", "36", "35"]


async def test_the_nearest_of_many_are_those_that_numpy_finds(db: Database) -> None:
    agent = (await db.catalog.agents.create("helper")).id
    *rows, query = spread(2_101, 16)
    await db.knowledge.memories.add_many(
        {"agent_id": agent, "content": str(place), "embedding": row} for place, row in enumerate(rows)
    )

    found = await db.knowledge.memories.near(agent, query, limit=20)

    exact = np.array(rows, dtype=float) @ query.astype(float)
    exact /= np.linalg.norm(np.array(rows, dtype=float), axis=1) * np.linalg.norm(query.astype(float))
    best = np.argsort(-exact)[:20]
    assert [memory.content for memory, _ in found] == [str(place) for place in best]
    assert [similarity for _, similarity in found] == pytest.approx(exact[best], abs=1e-6)


async def test_memories_of_another_length_are_passed_by(db: Database) -> None:
    agent = (await db.catalog.agents.create("helper")).id
    for embedding in ([1, 0], [1, 0, 0], None, [0, 0]):
        await db.knowledge.memories.remember(agent, str(embedding), embedding=embedding)

    found = await db.knowledge.memories.near(agent, [1, 0])

    assert [(memory.content, similarity) for memory, similarity in found] == [("[1, 0]", 1.0), ("[0, 0]", 0.0)]
    assert await db.knowledge.memories.near(agent, [1, 0, 0, 0]) == []


async def test_searches_do_not_wait_for_a_writer(db: Database) -> None:
    user, agent = await make_user(db), (await db.catalog.agents.create("helper")).id
    knowledge, vector = db.knowledge, [1.0] * 1536
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: knowledge.documents.near(user.id, vector),
        lambda: knowledge.memories.near(agent, vector),
        lambda: knowledge.memories.of_agent(agent),
        lambda: knowledge.hybrid.search(user.id, "tea", vector=vector, agent_id=agent),
    ]
    writing, done = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with db.write() as unit:
            await unit.supervisor.users.create("new")
            writing.set()
            await done.wait()

    writer = asyncio.create_task(write())
    await writing.wait()

    try:
        await asyncio.wait_for(asyncio.gather(*(call() for call in calls)), 20)
    finally:
        done.set()
        await writer


async def test_what_no_search_can_be_narrowed_by_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    user, agent = (await make_user(agentdb)).id, (await agentdb.catalog.agents.create("helper")).id

    thresholds: tuple[Any, ...] = (float("nan"), "0.7")
    for threshold in thresholds:
        with subtests.test("memories", threshold=threshold), pytest.raises(BadInput):
            await agentdb.knowledge.memories.near(agent, [1, 0], threshold=threshold)
        with subtests.test("documents", threshold=threshold), pytest.raises(BadInput):
            await agentdb.knowledge.documents.near(user, [1.0] * 1536, threshold=threshold)
    half_lives: tuple[Any, ...] = (5, timedelta(0))
    for half_life in half_lives:
        with subtests.test("memories", half_life=half_life), pytest.raises(BadInput):
            await agentdb.knowledge.memories.near(agent, [1, 0], half_life=half_life)
        with subtests.test("all of them", half_life=half_life), pytest.raises(BadInput):
            await agentdb.knowledge.hybrid.search(user, "tea", half_life=half_life)


async def test_a_weight_that_is_none_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    some: tuple[Any, ...] = (float("nan"), float("inf"), -1, "1", True)
    for weight in some:
        with subtests.test(weight=weight), pytest.raises(BadInput, match="weight"):
            await agentdb.knowledge.hybrid.search(1, "tea", text_weight=weight)


async def test_only_the_texts_of_a_list_are_tags(db: Database, subtests: pytest.Subtests) -> None:
    some: tuple[Any, ...] = (["hot", None], {"place": "drink"}, "drink", [["drink"]], ["hot", 5])
    for number, tags in enumerate(some):
        with subtests.test(tags=tags):
            agent = (await db.catalog.agents.create(f"helper {number}")).id
            await db.knowledge.memories.add(agent_id=agent, content="tea", tags=tags)
            assert (await db.knowledge.memories.newest(agent, tags=["drink"])).items == []
