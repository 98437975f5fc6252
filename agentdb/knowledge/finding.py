"""Finding passages: the chunks of documents, and documents that have none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentdb.engine.containing import tags_given
from agentdb.engine.fulltext import any_words_asked, words_asked
from agentdb.knowledge.models import KnowledgeBase
from agentdb.knowledge.nearest import DIMENSION, nearest, passages_plan
from agentdb.knowledge.passages import all_words_plan, any_words_plan
from agentdb.repository import Repository, capped


class Passages(Repository[KnowledgeBase]):
    """Documents as they are searched."""

    model = KnowledgeBase

    async def search(
        self, user_id: int, text: str, *, any_word: bool = False, tags: Iterable[str] = (), limit: int = 10
    ) -> list[KnowledgeBase]:
        """Return the passages of a user's documents with the words of a text: chunks, and documents without chunks.

        Args:
            user_id: whose.
            text: words, nothing of it is syntax; without a word, nothing is found.
            any_word: any of the words will do: those with more and rarer words come first. Otherwise all are in the
                passage or its title, and the newest comes first.
            tags: only of documents with all of these.
            limit: how many.

        Raises: BadInput.
        Cost: one read by the index of words: of all users' passages that have them.
        """
        limit, wanted = capped(limit, self.most), tags_given(tags)
        words = any_words_asked(text) if any_word else words_asked(text)
        if not words:
            return []
        plan = any_words_plan(bool(wanted)) if any_word else all_words_plan(bool(wanted))
        values = {"user_id": user_id, "words": words, "limit": limit, **({"tags": wanted} if wanted else {})}
        return await self.connection.fetch_all(plan, values)

    async def near(
        self,
        user_id: int,
        vector: Any,
        *,
        threshold: float | None = None,
        tags: Iterable[str] = (),
        limit: int = 10,
    ) -> list[tuple[KnowledgeBase, float]]:
        """Return the passages of a user's documents nearest to a vector, with their similarity, the most alike first.

        Args:
            user_id: whose.
            vector: 1536 numbers.
            threshold: only passages more alike than this; -1 to 1, the cosine of the angle. None: any.
            tags: only of documents with all of these.
            limit: how many.

        Raises: BadInput, also for a vector of another length.
        Cost: one read of all the user's passages with a vector.
        """
        wanted = tags_given(tags)
        values = {"user_id": user_id, **({"tags": wanted} if wanted else {})}
        plan, limit = passages_plan(bool(wanted)), capped(limit, self.most)
        return await nearest(self.connection, plan, values, vector, limit, dimension=DIMENSION, threshold=threshold)
