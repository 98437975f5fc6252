"""Finding messages by the words that are said in them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import Table

from agentdb.conversation.living import LIVE
from agentdb.conversation.models import Conversation, Message
from agentdb.engine.columns import of
from agentdb.engine.fulltext import any_words_asked, words_asked
from agentdb.engine.plan import Plan
from agentdb.engine.saying import saying_plan
from agentdb.living import Living
from agentdb.repository import capped

_conversations: Final[Table] = Conversation.__table__  # type: ignore[assignment]
_messages: Final[Table] = Message.__table__  # type: ignore[assignment]


@cache
def _plan(any_word: bool, one_conversation: bool) -> Plan[Message]:
    whose = [_conversations.c.user_id == of(_conversations.c.user_id), LIVE]
    if one_conversation:
        whose.append(_conversations.c.id == of(_conversations.c.id, "conversation_id"))
    talk = _messages.join(_conversations, _conversations.c.id == _messages.c.conversation_id)
    return saying_plan(Message, talk, whose, any_word=any_word)


class MessageSearch(Living[Message]):
    """Messages, as they are searched."""

    async def search(
        self,
        user_id: int,
        text: str,
        *,
        conversation_id: int | None = None,
        any_word: bool = False,
        limit: int = 10,
    ) -> list[Message]:
        """Return the messages of a user's conversations with the words of a text, in what is said as text.

        Args:
            user_id: whose conversations; deleted ones are not searched.
            text: words, nothing of it is syntax; without a word, nothing is found.
            conversation_id: only of this conversation.
            any_word: any of the words will do: messages with more and rarer words come first. Otherwise a message has
                them all, and the newest comes first.
            limit: how many.

        Raises: BadInput.
        Cost: one read of all the user's messages, or of the conversation's: 100 to 200 microseconds for each
            thousand characters. PostgreSQL reads only those with the words when somebody has made the index
            ``USING gin (agentdb_words(agentdb_said(content)))``.
        """
        limit = capped(limit, self.most)
        words = any_words_asked(text) if any_word else words_asked(text)
        if not words:
            return []
        values: dict[str, Any] = {"user_id": user_id, "words": words, "limit": limit}
        if any_word:
            values["any_words"] = words
        if conversation_id is not None:
            values["conversation_id"] = conversation_id
        return await self.connection.fetch_all(_plan(bool(any_word), conversation_id is not None), values)
