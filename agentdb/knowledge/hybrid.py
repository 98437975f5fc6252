"""Hybrid search: by words and by meaning, over documents, memories and messages, in one call."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import Table

from agentdb.conversation.models import Conversation, Message
from agentdb.engine.asked import finite
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection
from agentdb.engine.containing import tags_given
from agentdb.engine.fulltext import any_words_asked, words_asked
from agentdb.engine.plan import Plan
from agentdb.engine.saying import saying_plan
from agentdb.errors import BadInput, brief
from agentdb.knowledge import passages, remembering
from agentdb.knowledge.forgetting import check_half_life, fading
from agentdb.knowledge.fusing import fused
from agentdb.knowledge.nearest import DIMENSION, memories_plan, nearest, passages_plan
from agentdb.knowledge.records import Hit, Source
from agentdb.repository import MOST, capped

DEEPEST: Final = 4  # how many times as many as are wanted each list is read
LEAST_DEEP: Final = 50

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_messages: Final[Table] = Message.__table__  # type: ignore[assignment]

Found: TypeAlias = tuple[Source, int]


@cache
def _messages_plan(any_word: bool) -> Plan[Message]:
    whose = [_conversations.c.user_id == of(_conversations.c.user_id), _conversations.c.deleted_at.is_(None)]
    talk = _messages.join(_conversations, _conversations.c.id == _messages.c.conversation_id)
    return saying_plan(Message, talk, whose, any_word=any_word)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a search asks for, checked."""

    user_id: int
    agent_id: int | None
    words: tuple[str, ...]
    any_word: bool
    vector: Any
    tags: list[str]
    depth: int
    now: datetime

    def values(self, **more: Any) -> dict[str, Any]:
        """Return the parameters that most plans have."""
        return {"user_id": self.user_id, **more}

    @property
    def tagged(self) -> dict[str, Any]:
        """The parameter of the tags, where there are any."""
        return {"tags": self.tags} if self.tags else {}

    @property
    def said(self) -> dict[str, Any]:
        """The parameters of the words in messages."""
        return {"words": self.words, **({"any_words": self.words} if self.any_word else {})}


@dataclass(slots=True)
class _Lists:
    """What was found: the places in each list, and the rows."""

    connection: Connection
    by_words: dict[Source, list[int]]
    by_vector: dict[Source, list[int]]
    rows: dict[Found, Any]

    async def by_words_in(self, source: Source, plan: Plan[Any], asked: _Asked, values: dict[str, Any]) -> None:
        """Find what has the words."""
        if asked.words:
            rows = await self.connection.fetch_all(plan, {**values, "limit": asked.depth})
            self.by_words[source] = [row.id for row in rows]
            self.rows |= {(source, row.id): row for row in rows}

    async def by_vector_in(
        self, source: Source, plan: Plan[Any], asked: _Asked, values: dict[str, Any], dimension: int | None = None
    ) -> None:
        """Find what is nearest to the vector."""
        if asked.vector is not None:
            near = await nearest(self.connection, plan, values, asked.vector, asked.depth, dimension=dimension)
            self.by_vector[source] = [row.id for row, _ in near]
            self.rows |= {(source, row.id): row for row, _ in near}


class Hybrid:
    """One search over all that is remembered and said.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int = MOST) -> None:
        self.connection = connection
        self.most = most

    async def search(
        self,
        user_id: int,
        text: str = "",
        *,
        vector: Any = None,
        agent_id: int | None = None,
        sources: Iterable[Source | str] = tuple(Source),
        any_word: bool = True,
        tags: Iterable[str] = (),
        text_weight: float = 1.0,
        vector_weight: float = 1.0,
        half_life: timedelta | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """Return what is found best by words and by meaning together: passages, memories and messages of a user.

        Each source gives a list by words and a list by vector; `agentdb.knowledge.fusing` makes one of them, by places
        alone. It is the same on both databases, and so are equal scores: documents come before memories, and those
        before messages, then as in their list.

        Args:
            user_id: whose documents and conversations; memories are those of this user and of everybody.
            text: words; without one, only the vector counts.
            vector: of the text, 1536 numbers; messages have none. None: only words count.
            agent_id: whose memories; without it there are none.
            sources: where to look.
            any_word: whether any of the words will do; otherwise all must be there.
            tags: only documents and memories with all of these; messages have none, and are left out.
            text_weight: what a place in a list by words counts.
            vector_weight: what a place in a list by vector counts.
            half_life: after each of which a memory counts half; None: none fades.
            limit: how many.

        Raises: BadInput; also for neither text nor vector.
        Cost: a read for each list.
        """
        wanted = _sources(sources)
        if vector is None and not text:
            raise BadInput("a hybrid search needs a text, a vector, or both")
        check_half_life(half_life)
        for weight in (text_weight, vector_weight):
            if finite(weight, "a weight") < 0:
                raise BadInput(f"a weight is a finite number from 0, not {brief(weight)}")
        limit = capped(limit, self.most)
        words = any_words_asked(text) if any_word else words_asked(text)
        asked = _Asked(
            user_id,
            agent_id,
            words or (),
            bool(any_word),
            vector,
            tags_given(tags),
            max(LEAST_DEEP, DEEPEST * limit),
            self.connection.now(),
        )
        lists = await _looked_up(self.connection, asked, wanted)
        fades = {
            found: fading(row.created_at, asked.now, half_life)
            for found, row in lists.rows.items()
            if found[0] is Source.memory and half_life is not None
        }
        weighted = [(text_weight, _found(source, lists.by_words)) for source in wanted]
        weighted += [(vector_weight, _found(source, lists.by_vector)) for source in wanted]
        best = fused(weighted, fades)
        order = {source: place for place, source in enumerate(Source)}
        best.sort(key=lambda scored: (-scored[1], order[scored[0][0]]))
        return [
            Hit(
                found[0],
                lists.rows[found],
                score,
                _rank(found, lists.by_words),
                _rank(found, lists.by_vector),
            )
            for found, score in best[:limit]
        ]


def _sources(given: Iterable[Source | str]) -> list[Source]:
    try:
        named: Collection[Source] = {Source(source) for source in given}
    except (ValueError, TypeError):
        raise BadInput(f"sources are {', '.join(Source)}, not {brief(given)}") from None
    return [source for source in Source if source in named]


def _found(source: Source, lists: dict[Source, list[int]]) -> list[Found]:
    return [(source, id_) for id_ in lists.get(source, ())]


def _rank(found: Found, lists: dict[Source, list[int]]) -> int | None:
    source, id_ = found
    ids = lists.get(source, [])
    return ids.index(id_) + 1 if id_ in ids else None


async def _looked_up(connection: Connection, asked: _Asked, sources: list[Source]) -> _Lists:
    lists = _Lists(connection, {}, {}, {})
    if Source.document in sources:
        tagged = bool(asked.tags)
        by_words = passages.any_words_plan(tagged) if asked.any_word else passages.all_words_plan(tagged)
        values = asked.values(**asked.tagged)
        await lists.by_words_in(Source.document, by_words, asked, {**values, "words": asked.words})
        await lists.by_vector_in(Source.document, passages_plan(tagged), asked, values, DIMENSION)
    if Source.memory in sources and asked.agent_id is not None:
        which = remembering.Which(of_user=True, tagged=bool(asked.tags))
        plan = remembering.any_words_plan(which) if asked.any_word else remembering.all_words_plan(which)
        values = asked.values(agent_id=asked.agent_id, now=asked.now, **asked.tagged)
        await lists.by_words_in(Source.memory, plan, asked, {**values, "words": asked.words})
        await lists.by_vector_in(Source.memory, memories_plan(which), asked, values)
    if Source.message in sources and not asked.tags:
        spoken = _messages_plan(asked.any_word)
        await lists.by_words_in(Source.message, spoken, asked, asked.values(**asked.said))
    return lists
