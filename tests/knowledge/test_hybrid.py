"""By words and by meaning: the nearest, and one list made of many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.knowledge.fusing import fused
from agentdb.knowledge.records import Chunk, Source
from agentdb.testing.factories import make_conversation, make_user


def towards(*numbers: float) -> list[float]:
    return [*numbers, *([0.0] * (1536 - len(numbers)))]


async def agent_of(db: Database) -> int:
    return (await db.catalog.agents.create("helper")).id


async def document(db: Database, user_id: int, title: str, vector: list[float], **details: Any) -> None:
    await db.knowledge.documents.create(user_id, title, "text", **details)
    (claim,) = await db.knowledge.documents.claim("worker")
    await db.knowledge.documents.complete(claim, [Chunk("text", vector)], model="test")


async def test_passages_come_nearest_first_above_the_threshold_only(db: Database) -> None:
    user, stranger = await make_user(db), await make_user(db)
    for title, vector in (("east", towards(1.0)), ("north", towards(0.0, 2.0)), ("northeast", towards(3.0, 3.0))):
        await document(db, user.id, title, vector, tags=["way"])
    await document(db, user.id, "nowhere", towards(0.0))
    await document(db, stranger.id, "strange", towards(1.0))
    await db.knowledge.documents.create(user.id, "waiting", "text")
    near = db.knowledge.documents.near

    found = await near(user.id, towards(1.0, 0.1))
    some = await near(user.id, towards(1.0), threshold=0.0, tags=["way"])

    assert [passage.title for passage, _ in found] == ["east", "northeast", "north", "nowhere"]
    assert [alike for _, alike in found] == pytest.approx([0.995, 0.774, 0.0995, 0.0], abs=1e-3)
    assert [passage.title for passage, _ in some] == ["east", "northeast"]
    assert await near(user.id, towards(1.0), threshold=1.0) == []
    with pytest.raises(BadInput, match="1536"):
        await near(user.id, [1.0] * 1535)


async def test_memories_of_another_length_are_passed_by(db: Database) -> None:
    agent = await agent_of(db)
    for content, vector in (("two", [1.0, 0.0]), ("three", [1.0, 0.0, 0.0]), ("none", None), ("zero", [0.0, 0.0])):
        await db.knowledge.memories.remember(agent, content, embedding=vector)

    found = await db.knowledge.memories.near(agent, [1.0, 1.0])

    assert [memory.content for memory, _ in found] == ["two", "zero"]
    assert [memory.content for memory, _ in await db.knowledge.memories.near(agent, [1.0, 1.0], threshold=0.5)] == [
        "two"
    ]


async def test_memories_fade_by_their_half_life_where_that_is_asked_for(db: Database) -> None:
    agent = await agent_of(db)
    with clock.hold(clock.now()) as hand:
        await db.knowledge.memories.remember(agent, "old and right", embedding=[1.0, 0.0])
        hand.forward(timedelta(days=30))
        await db.knowledge.memories.remember(agent, "new and nearly", embedding=[1.0, 0.5])
        near = db.knowledge.memories.near

        plain = await near(agent, [1.0, 0.0], limit=1)
        faded = await near(agent, [1.0, 0.0], limit=2, half_life=timedelta(days=30))

    assert [memory.content for memory, _ in plain] == ["old and right"]
    assert [memory.content for memory, _ in faded] == ["new and nearly", "old and right"]
    assert faded[1][1] == pytest.approx(0.5)
    with pytest.raises(BadInput, match="half-life"):
        await near(agent, [1.0, 0.0], half_life=timedelta(0))


async def test_what_points_away_does_not_come_nearer_by_fading(db: Database) -> None:
    agent, memories = await agent_of(db), db.knowledge.memories
    with clock.hold(clock.now()) as hand:
        await memories.remember(agent, "old and opposite", embedding=[-1.0, 0.0])
        await memories.remember(agent, "old and alike", embedding=[1.0, 0.0])
        hand.forward(timedelta(days=10))
        await memories.remember(agent, "new and rather opposite", embedding=[-0.2, 1.0])

        found = await memories.near(agent, [1.0, 0.0], half_life=timedelta(days=1))

    assert [memory.content for memory, _ in found] == ["old and alike", "new and rather opposite", "old and opposite"]
    assert found[-1][1] == -1.0


def test_places_alone_make_one_list_of_several() -> None:
    assert fused([(1.0, "abc"), (1.0, "cd")]) == [
        ("c", 1 / 63 + 1 / 61),
        ("a", 1 / 61),
        ("b", 1 / 62),
        ("d", 1 / 62),
    ]
    assert [thing for thing, _ in fused([(0.1, "ab"), (1.0, "ba")])] == ["b", "a"]
    assert [thing for thing, _ in fused([(1.0, "ab")], {"a": 0.5})] == ["b", "a"]
    assert fused([]) == []


async def test_one_call_finds_documents_memories_and_messages_by_words_and_meaning(db: Database) -> None:
    conversation = await make_conversation(db)
    user, agent = conversation.user_id, await agent_of(db)
    await document(db, user, "umbrella of both", towards(1.0, 0.1))
    await document(db, user, "near only", towards(1.0))
    await db.knowledge.memories.remember(agent, "an umbrella", user_id=user)
    await db.knowledge.memories.remember(agent, "meant only", embedding=towards(1.0))
    await db.conversation.messages.append(conversation.id, "user", "my umbrella?")

    hits = await db.knowledge.hybrid.search(user, "umbrella", vector=towards(1.0), agent_id=agent)

    told = [(hit.source.value, hit.text_rank, hit.vector_rank) for hit in hits]
    assert told == [
        ("document", 1, 2),
        ("document", None, 1),
        ("memory", 1, None),
        ("memory", None, 1),
        ("message", 1, None),
    ]
    assert [hit.score for hit in hits] == [1 / 61 + 1 / 62, 1 / 61, 1 / 61, 1 / 61, 1 / 61]
    assert [getattr(hit.row, "title", None) for hit in hits[:2]] == ["umbrella of both", "near only"]


async def test_a_hybrid_search_never_sees_what_is_another_users(db: Database) -> None:
    conversation, stranger = await make_conversation(db), await make_user(db)
    user, agent = conversation.user_id, await agent_of(db)
    await document(db, user, "secret", towards(1.0))
    await db.knowledge.memories.remember(agent, "secret", user_id=user, embedding=towards(1.0))
    await db.knowledge.memories.remember(agent, "secret of everybody", embedding=towards(1.0))
    await db.conversation.messages.append(conversation.id, "user", "secret")

    for any_word in (False, True):
        hits = await db.knowledge.hybrid.search(
            stranger.id, "secret", vector=towards(1.0), agent_id=agent, any_word=any_word
        )
        assert [getattr(hit.row, "content", None) for hit in hits] == ["secret of everybody"]
    assert len(await db.knowledge.hybrid.search(user, "secret", vector=towards(1.0), agent_id=agent)) == 4
    assert len(await db.knowledge.hybrid.search(user, "secret", vector=towards(1.0))) == 2


async def test_sources_tags_weights_and_fading_say_what_counts(db: Database) -> None:
    conversation = await make_conversation(db)
    user, agent = conversation.user_id, await agent_of(db)
    with clock.hold(clock.now()) as hand:
        await db.knowledge.memories.remember(agent, "tea again", tags=["drink"])
        hand.forward(timedelta(days=10))
        await document(db, user, "tea", towards(1.0), tags=["drink"])
        await document(db, user, "far", towards(0.5, 1.0))
        await db.conversation.messages.append(conversation.id, "user", "tea")
        search = db.knowledge.hybrid.search

        only = await search(user, "tea", agent_id=agent, sources=["message", Source.memory])
        tagged = await search(user, "tea", agent_id=agent, tags=["drink"])
        faded = await search(user, "tea", agent_id=agent, half_life=timedelta(days=10))
        heavy = await search(user, "far", vector=towards(1.0), vector_weight=0.0)
        one = await search(user, "tea", agent_id=agent, limit=1)

    assert [hit.source.value for hit in only] == ["memory", "message"]
    assert [hit.source.value for hit in tagged] == ["document", "memory"]
    assert [hit.source.value for hit in faded] == ["document", "message", "memory"]
    assert faded[2].score == pytest.approx(0.5 / 61)
    assert getattr(heavy[0].row, "title", "") == "far"
    assert [hit.source.value for hit in one] == ["document"]


async def test_a_hybrid_search_in_a_unit_sees_what_the_unit_wrote(db: Database) -> None:
    user = await make_user(db)
    async with db.write() as unit:
        await unit.knowledge.documents.create(user.id, "umbrella", "text")

        assert len(await unit.knowledge.hybrid.search(user.id, "umbrella")) == 1


async def test_a_search_for_nothing_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    some: tuple[dict[str, Any], ...] = (
        {},
        {"text": "a", "sources": ["nothing"]},
        {"text": "a", "half_life": timedelta(0)},
        {"text": "a", "limit": 0},
    )
    for asked in some:
        with subtests.test(**asked), pytest.raises(BadInput):
            await agentdb.knowledge.hybrid.search(1, **asked)
