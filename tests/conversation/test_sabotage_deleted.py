"""A deleted conversation, and many who append to it at once."""

from __future__ import annotations

import asyncio

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import NotFound
from agentdb.testing.factories import make_conversation


async def test_appends_at_once_to_a_deleted_conversation_are_all_refused(db: Database) -> None:
    conversation = await make_conversation(db)
    await db.conversation.conversations.update(conversation.id, deleted_at=clock.now())

    answers = await asyncio.gather(
        *(db.conversation.messages.append(conversation.id, "user", str(number)) for number in range(20)),
        return_exceptions=True,
    )

    assert all(isinstance(answer, NotFound) for answer in answers)
    assert await db.conversation.messages.count() == 0
    deleted = await db.conversation.conversations.page(deleted_at__ne=None)
    assert [one.last_position for one in deleted.items] == [0]
