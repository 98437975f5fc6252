"""Positions of messages that one statement appends for many callers."""

from __future__ import annotations

import asyncio

from agentdb.database import Database
from agentdb.testing.factories import make_conversation


async def test_appends_answered_together_continue_where_the_conversation_was(db: Database) -> None:
    others = [await make_conversation(db) for _ in range(2)]
    conversation = await make_conversation(db, messages=3)

    # The first two are run alone and keep the lanes busy, so that the rest is one batch.
    first = [asyncio.create_task(db.conversation.messages.append(other.id, "user", "a")) for other in others]
    rest = [asyncio.create_task(db.conversation.messages.append(conversation.id, "user", str(n))) for n in range(20)]
    await asyncio.gather(*first)
    appended = await asyncio.gather(*rest)

    assert [message.position for message in appended] == list(range(4, 24))
    assert (await db.conversation.conversations.get(conversation.id)).last_position == 23
