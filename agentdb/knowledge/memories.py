"""Memories: what agents remember, of everybody or of one user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import or_

from agentdb.catalog.models import Agent
from agentdb.engine.asked import members, texts, whole_number
from agentdb.engine.columns import of
from agentdb.engine.containing import tags_given
from agentdb.engine.fulltext import any_words_asked, words_asked
from agentdb.engine.statements import insert_one
from agentdb.engine.vectors.ranking import comparable
from agentdb.errors import BadInput, NotFound, brief
from agentdb.knowledge.forgetting import check_half_life, fading, lifetime
from agentdb.knowledge.models import Memory
from agentdb.knowledge.nearest import memories_plan, nearest
from agentdb.knowledge.records import AgentMemories
from agentdb.knowledge.remembering import (
    AGENT,
    ALIVE,
    FORGET,
    ORDER,
    PURGE,
    Which,
    all_words_plan,
    any_words_plan,
    memories,
    newest_plan,
)
from agentdb.living import Living
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

PURGED_AT_ONCE = 1_000


class Memories(Living[Memory]):
    """What agents remember. A memory whose time is over is not shown, whether it is purged yet or not.

    Wherever an agent's memories are read, ``user_id`` narrows them to those of that user and those of everybody;
    without it, they are all of the agent's.
    """

    model = Memory
    shown = ALIVE
    owned = or_(memories.c.user_id.is_(None), memories.c.user_id == of(memories.c.user_id))
    fleeting = True

    async def remember(
        self,
        agent_id: int,
        content: str,
        *,
        user_id: int | None = None,
        kind: str = "",
        tags: Iterable[str] = (),
        ttl: timedelta | str | None = None,
        **details: Any,
    ) -> Memory:
        """Add a memory, and return it.

        Args:
            agent_id: whose.
            content: what it says.
            user_id: of whom it is; None: of everybody.
            kind: such as ``note`` or ``event``.
            tags: to narrow searches by.
            ttl: how long it lives from now on, such as ``P30D``; None: for ever.
            details: ``metadata``, ``provenance``, ``embedding``, ``embedding_model``, ``embedding_version``.

        Raises: BadInput, also for a lifetime that is none; MissingReference.
        Cost: one insert; concurrent calls share one.
        """
        values = {"agent_id": agent_id, "content": content, "user_id": user_id, "kind": kind, "tags": tags_given(tags)}
        for name in ("metadata", "provenance"):
            if name in details:
                details[name] = members(details[name], f"memories.{name}")
        if details.get("embedding") is not None:
            details["embedding"] = comparable(details["embedding"], None, "memories.embedding")
        if ttl is not None:
            try:
                details["expires_at"] = self.connection.now() + lifetime(ttl)
            except OverflowError:
                raise BadInput(f"a lifetime that ends after the year 9999: {brief(ttl)}; leave it out") from None
        row: Memory | None = await self.connection.fetch_one(insert_one(Memory), {**values, **details})
        return self._there(row)

    async def newest(
        self,
        agent_id: int,
        *,
        user_id: int | None = None,
        kinds: Iterable[str] = (),
        tags: Iterable[str] = (),
        limit: int = 10,
        after: str | None = None,
    ) -> Page[Memory]:
        """Return a page of what an agent remembers, the newest first.

        Args:
            agent_id: whose memories.
            user_id: of whom; see the class.
            kinds: only of these.
            tags: only those with all of these.
            limit: how many.
            after: the ``next`` of the page before.

        Raises: BadInput.
        Cost: one read by ix_memories__agent_id_created_at_id.
        """
        which, values = self._asked(agent_id, user_id, kinds, tags)
        limit = capped(limit, self.most)
        listing = f"memories:{agent_id}:{user_id}:{values.get('kinds')}:{values.get('tags')}"
        values["limit"] = limit + 1
        if after is not None:
            values |= {f"after_{place}": value for place, value in enumerate(values_of(listing, after, ORDER))}
        rows = await self.connection.fetch_all(newest_plan(which, after is not None), values)
        return page_of(rows, limit, listing, [column.key for column in ORDER])

    async def of_agent(self, agent_id: int, *, user_id: int | None = None, limit: int = 10) -> AgentMemories:
        """Return an agent together with the newest of what it remembers.

        Args:
            agent_id: the agent.
            user_id: of whom the memories are; see the class.
            limit: how many memories.

        Raises: NotFound when there is no such agent.
        Cost: two reads.
        """
        which, values = self._asked(agent_id, user_id, (), ())
        values["limit"] = capped(limit, self.most)
        agent: Agent | None = await self.connection.fetch_one(AGENT, {"agent_id": agent_id})
        if agent is None:
            raise NotFound(f"there is no agent {agent_id}")
        return AgentMemories(agent, await self.connection.fetch_all(newest_plan(which, after=False), values))

    async def search(
        self,
        agent_id: int,
        text: str,
        *,
        user_id: int | None = None,
        any_word: bool = False,
        kinds: Iterable[str] = (),
        tags: Iterable[str] = (),
        limit: int = 10,
    ) -> list[Memory]:
        """Return what an agent remembers with the words of a text.

        Args:
            agent_id: whose memories.
            text: words, nothing of it is syntax; without a word, nothing is found.
            user_id: of whom; see the class.
            any_word: any of the words will do: those with more and rarer words come first. Otherwise a memory has them
                all, and the newest comes first.
            kinds: only of these.
            tags: only those with all of these.
            limit: how many.

        Raises: BadInput.
        Cost: one read by the index of words: of all agents' memories that have them.
        """
        which, values = self._asked(agent_id, user_id, kinds, tags)
        values["limit"] = capped(limit, self.most)
        words = any_words_asked(text) if any_word else words_asked(text)
        if not words:
            return []
        plan = any_words_plan(which) if any_word else all_words_plan(which)
        return await self.connection.fetch_all(plan, {**values, "words": words})

    async def near(
        self,
        agent_id: int,
        vector: Any,
        *,
        user_id: int | None = None,
        threshold: float | None = None,
        half_life: timedelta | None = None,
        kinds: Iterable[str] = (),
        tags: Iterable[str] = (),
        limit: int = 10,
    ) -> list[tuple[Memory, float]]:
        """Return what an agent remembers nearest to a vector, each with its similarity, the most alike first.

        Memories whose vector has another length are passed by.

        Args:
            agent_id: whose memories.
            vector: as many numbers as the memories' have.
            user_id: of whom; see the class.
            threshold: only memories more alike than this, before they fade; -1 to 1, the cosine of the angle.
            half_life: after each of which a memory that is alike at all counts half; ten times the limit are looked at.
                None: none fades.
            kinds: only of these.
            tags: only those with all of these.
            limit: how many.

        Raises: BadInput.
        Cost: one read of all the agent's memories with a vector.
        """
        check_half_life(half_life)
        which, values = self._asked(agent_id, user_id, kinds, tags)
        limit = capped(limit, self.most)
        most = limit if half_life is None else limit * 10
        found = await nearest(self.connection, memories_plan(which), values, vector, most, threshold=threshold)
        if half_life is not None:
            faded = (
                # What points away counts against a memory, and that does not fade.
                (memory, alike if alike <= 0 else alike * fading(memory.created_at, values["now"], half_life))
                for memory, alike in found
            )
            found = sorted(faded, key=lambda scored: -scored[1])
        return found[:limit]

    async def forget(self, agent_id: int, memory_id: int, *, user_id: int | None = None) -> bool:
        """Remove a memory of an agent, and tell whether it was there.

        Args:
            agent_id: whose memory.
            memory_id: which.
            user_id: of whom it must be; None: of anybody or everybody.
        """
        asked = {"agent_id": agent_id, "memory_id": memory_id, "user_id": user_id, "anybodys": int(user_id is None)}
        return await self.connection.execute(FORGET, asked) > 0

    async def purge(self, *, most: int | None = None, batch: int = PURGED_AT_ONCE) -> int:
        """Remove the memories whose time is over, the longest over first, and return how many.

        Args:
            most: how many at most; None: all.
            batch: how many in one transaction, so that nobody waits long.

        Raises: BadInput.
        Cost: one statement for each batch, by ix_memories__expires_at.
        """
        if most is not None:
            whole_number(most, "most")
        batch, now, gone = capped(batch, 10_000), self.connection.now(), 0
        while most is None or gone < most:
            limit = batch if most is None else min(batch, most - gone)
            removed = await self.connection.fetch_all(PURGE, {"now": now, "limit": limit})
            gone += len(removed)
            if len(removed) < limit:
                break
        return gone

    def _asked(
        self, agent_id: int, user_id: int | None, kinds: Iterable[str], tags: Iterable[str]
    ) -> tuple[Which, dict[str, Any]]:
        values: dict[str, Any] = {"agent_id": agent_id, "now": self.connection.now()}
        given: Mapping[str, Any] = {"kinds": _kinds(kinds), "tags": tags_given(tags)}
        values |= {name: value for name, value in given.items() if value}
        if user_id is not None:
            values["user_id"] = user_id
        return Which(user_id is not None, "kinds" in values, "tags" in values), values


def _kinds(kinds: Iterable[str]) -> list[str]:
    return texts(kinds, "kinds")
