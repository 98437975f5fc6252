"""What agents remember: kept, read back newest first, found by words, and gone when its time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.knowledge.models import Memory
from agentdb.testing.factories import make_user


async def make_agent(db: Database, name: str = "helper") -> int:
    return (await db.catalog.agents.create(name)).id


def said(memories: list[Memory]) -> list[str]:
    return [memory.content for memory in memories]


async def test_the_newest_of_an_agent_come_back_newest_first_page_by_page(db: Database) -> None:
    agent, other = await make_agent(db), await make_agent(db, "other")
    for number in range(5):
        await db.knowledge.memories.remember(agent, f"memory {number}")
    await db.knowledge.memories.remember(other, "of another agent")

    page = await db.knowledge.memories.newest(agent, limit=3)
    rest = await db.knowledge.memories.newest(agent, limit=3, after=page.next)

    assert said(page.items) == ["memory 4", "memory 3", "memory 2"]
    assert said(rest.items) == ["memory 1", "memory 0"]
    assert rest.next is None


async def test_an_agent_comes_with_the_newest_it_remembers_in_one_call(db: Database) -> None:
    agent = await make_agent(db)
    for number in range(12):
        await db.knowledge.memories.remember(agent, f"memory {number}")

    both = await db.knowledge.memories.of_agent(agent)

    assert both.agent.name == "helper"
    assert said(list(both.memories)) == [f"memory {number}" for number in range(11, 1, -1)]
    with pytest.raises(NotFound, match="no agent"):
        await db.knowledge.memories.of_agent(agent + 1)


async def test_a_users_memories_and_everybodys_are_read_and_nobody_elses(db: Database) -> None:
    agent = await make_agent(db)
    user, stranger = await make_user(db), await make_user(db)
    await db.knowledge.memories.remember(agent, "blue of everybody")
    await db.knowledge.memories.remember(agent, "blue of the user", user_id=user.id)
    await db.knowledge.memories.remember(agent, "blue of a stranger", user_id=stranger.id)
    reads = db.knowledge.memories

    own = ["blue of the user", "blue of everybody"]
    assert said((await reads.newest(agent, user_id=user.id)).items) == own
    assert said(list((await reads.of_agent(agent, user_id=user.id)).memories)) == own
    assert said(await reads.search(agent, "blue", user_id=user.id)) == own
    assert said(await reads.search(agent, "blue", user_id=user.id, any_word=True)) == own
    assert len((await reads.newest(agent)).items) == 3


async def test_kinds_and_tags_narrow_what_is_read_and_found(db: Database) -> None:
    agent = await make_agent(db)
    await db.knowledge.memories.remember(agent, "tea, a note", kind="note", tags=["drink", "hot"])
    await db.knowledge.memories.remember(agent, "tea, an event", kind="event", tags=["drink"])
    await db.knowledge.memories.remember(agent, "tea alone")
    reads = db.knowledge.memories

    assert said((await reads.newest(agent, kinds=["note"])).items) == ["tea, a note"]
    assert said((await reads.newest(agent, tags=["drink"])).items) == ["tea, an event", "tea, a note"]
    assert said((await reads.newest(agent, tags=["hot", "drink"])).items) == ["tea, a note"]
    assert said(await reads.search(agent, "tea", tags=["drink", "hot"])) == ["tea, a note"]
    assert said(await reads.search(agent, "tea", kinds=["event", "other"])) == ["tea, an event"]
    assert await reads.search(agent, "tea", tags=["%"]) == []
    with pytest.raises(BadInput, match="a list of texts"):
        await reads.newest(agent, tags="hot")


async def test_a_memory_that_has_lived_its_time_is_not_shown_and_is_purged(db: Database) -> None:
    agent = await make_agent(db)
    with clock.hold(clock.now()) as hand:
        await db.knowledge.memories.remember(agent, "for ever")
        for number in range(5):
            await db.knowledge.memories.remember(agent, f"for a day {number}", ttl="P1D")
        await db.knowledge.memories.remember(agent, "for two days", ttl=timedelta(days=2))
        hand.forward(timedelta(days=1))
        shown = said((await db.knowledge.memories.newest(agent)).items)
        found = said(await db.knowledge.memories.search(agent, "for"))
        some = await db.knowledge.memories.purge(most=2)
        rest = await db.knowledge.memories.purge(batch=2)

        assert shown == found == ["for two days", "for ever"]
        assert (some, rest) == (2, 3)
        assert await db.knowledge.memories.count() == 2
        assert await db.knowledge.memories.purge() == 0


async def test_a_lifetime_that_nobody_understands_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    agent = await make_agent(agentdb)

    some: Any = ("", "P", "PT", "1D", "P1Y", "P-1D", "P0D", "p1d", "P1D ", "PT1.5H", timedelta(0), 5)
    for ttl in some:
        with subtests.test(ttl=ttl), pytest.raises(BadInput, match="lifetime"):
            await agentdb.knowledge.memories.remember(agent, "hello", ttl=ttl)
    assert await agentdb.knowledge.memories.count() == 0


async def test_a_memory_that_has_lived_its_time_is_nowhere_to_be_seen(db: Database) -> None:
    agent, user, stranger = await make_agent(db), await make_user(db), await make_user(db)
    memories = db.knowledge.memories
    with clock.hold(clock.now()) as hand:
        kept = await memories.remember(agent, "kept", ttl="P2D", user_id=user.id)
        gone = await memories.remember(agent, "gone", ttl="P1D")
        assert [row.id async for row in memories.stream()] == [kept.id, gone.id]
        hand.forward(timedelta(days=1))

        assert await memories.find(gone.id) is None
        with pytest.raises(NotFound):
            await memories.get(gone.id)
        with pytest.raises(NotFound):
            await memories.update(gone.id, content="back")
        assert not await memories.exists(content="gone")
        assert await memories.count(agent_id=agent) == 1
        assert said((await memories.page()).items) == ["kept"]
        assert [row.id async for row in memories.stream()] == [kept.id]
        assert (await memories.update(kept.id, content="anew")).content == "anew"
        assert (await memories.get(kept.id, user_id=user.id)).id == kept.id
        assert await memories.find(kept.id, user_id=stranger.id) is None
        assert await memories.purge() == 1


async def test_a_memory_is_forgotten_by_whose_it_is_only(db: Database) -> None:
    agent, user, stranger = await make_agent(db), await make_user(db), await make_user(db)
    memory = await db.knowledge.memories.remember(agent, "a secret wish", user_id=user.id)

    assert not await db.knowledge.memories.forget(agent, memory.id, user_id=stranger.id)
    assert await db.knowledge.memories.forget(agent, memory.id, user_id=user.id)
    assert await db.knowledge.memories.search(agent, "wish") == []
    assert not await db.knowledge.memories.forget(agent, memory.id)


async def test_what_an_agent_remembers_goes_with_it(db: Database) -> None:
    agent = await make_agent(db)
    await db.knowledge.memories.remember(agent, "hello")

    await db.catalog.agents.remove(agent)

    assert await db.knowledge.memories.count() == 0
    assert await db.knowledge.memories.search(agent, "hello") == []
    with pytest.raises(MissingReference):
        await db.knowledge.memories.remember(agent, "again")


async def test_a_changed_memory_is_found_by_what_it_says_now(db: Database) -> None:
    agent = await make_agent(db)
    memory = await db.knowledge.memories.remember(agent, "likes tea")

    await db.knowledge.memories.update(memory.id, content="likes coffee")

    assert await db.knowledge.memories.search(agent, "tea") == []
    assert said(await db.knowledge.memories.search(agent, "coffee")) == ["likes coffee"]


async def test_more_and_rarer_words_come_first_when_any_will_do(db: Database) -> None:
    agent = await make_agent(db)
    for text in ("the cat", "the dog and the ocelot", "the cat and the dog", "the bird", "nothing of it"):
        await db.knowledge.memories.remember(agent, text)

    found = said(await db.knowledge.memories.search(agent, "the cat or an ocelot?", any_word=True))

    assert found == ["the dog and the ocelot", "the cat and the dog", "the cat", "the bird"]
