"""Conversations: made once, found by key, listed newest first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agentdb.database import Database
from agentdb.errors import Conflict, MissingReference


async def test_of_many_at_once_exactly_one_creates(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")

    answers = await asyncio.gather(
        *(db.conversation.conversations.get_or_create("key", user_id=user.id) for _ in range(20))
    )

    assert len({conversation.id for conversation, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


async def test_a_taken_key_is_a_conflict(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    await db.conversation.conversations.create(user_id=user.id, key="key")

    with pytest.raises(Conflict) as caught:
        await db.conversation.conversations.create(user_id=user.id, key="key")
    with pytest.raises(MissingReference):
        await db.conversation.conversations.create(user_id=99)

    assert caught.value.constraint == "uq_conversations__key"


async def test_a_deleted_conversation_is_not_found_by_its_key(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    conversation = await db.conversation.conversations.create(user_id=user.id, key="key")
    await db.conversation.conversations.update(conversation.id, deleted_at=datetime.now(UTC))

    assert await db.conversation.conversations.by_key("key") is None
    with pytest.raises(Conflict, match="is deleted") as refused:
        await db.conversation.conversations.get_or_create("key", user_id=user.id)
    assert refused.value.constraint == "uq_conversations__key"


async def test_a_users_live_conversations_are_listed_newest_first(db: Database) -> None:
    user = await db.supervisor.users.add(username="bob")
    made = [await db.conversation.conversations.create(user_id=user.id, title=str(n)) for n in range(4)]
    await db.conversation.conversations.update(made[2].id, deleted_at=datetime.now(UTC))

    page = await db.conversation.conversations.newest(user_id=user.id, limit=2)
    rest = await db.conversation.conversations.newest(user_id=user.id, limit=2, after=page.next)

    assert [one.title for one in page.items + rest.items] == ["3", "1", "0"]
