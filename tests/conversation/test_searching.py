"""Messages are found by the words said in them, in one's own conversations that are not deleted."""

from __future__ import annotations

from typing import Any

import pytest

from agentdb.database import Database
from agentdb.testing.factories import make_conversation


def said(messages: list[Any]) -> list[Any]:
    return [message.content for message in messages]


async def test_messages_are_found_in_ones_own_live_conversations(db: Database) -> None:
    own, foreign = await make_conversation(db), await make_conversation(db)
    deleted = await make_conversation(db, user_id=own.user_id)
    for conversation in (own, foreign, deleted):
        await db.conversation.messages.append(conversation.id, "user", "Where is my Umbrella?")
    await db.conversation.conversations.delete(deleted.id)

    search = db.conversation.messages.search
    all_words, any_word = await search(own.user_id, "umbrella"), await search(own.user_id, "umbrella", any_word=True)

    assert [message.conversation_id for message in all_words] == [own.id]
    assert [message.conversation_id for message in any_word] == [own.id]


async def test_only_blocks_of_text_are_searched(db: Database) -> None:
    conversation = await make_conversation(db)
    blocks = [
        {"type": "text", "text": "red apples"},
        {"type": "tool_use", "name": "green", "input": {"text": "blue"}},
        {"type": "text", "text": 5},
        {"type": "text", "text": "and pears"},
    ]
    await db.conversation.messages.append(conversation.id, "assistant", blocks)
    search = db.conversation.messages.search

    assert len(await search(conversation.user_id, "pears apples")) == 1
    assert len(await search(conversation.user_id, "purple pears", any_word=True)) == 1
    for word in ("green", "blue", "text", "type", "5"):
        assert await search(conversation.user_id, word) == []


async def test_all_words_come_newest_first_and_any_by_rarity(db: Database) -> None:
    conversation, other = await make_conversation(db), None
    for text in ("the cat", "the dog and the ocelot", "the cat and the dog", "the bird"):
        await db.conversation.messages.append(conversation.id, "user", text)
    other = await make_conversation(db, user_id=conversation.user_id)
    await db.conversation.messages.append(other.id, "user", "the cat again")
    search, user = db.conversation.messages.search, conversation.user_id

    assert said(await search(user, "the cat")) == ["the cat again", "the cat and the dog", "the cat"]
    assert said(await search(user, "cat", conversation_id=other.id)) == ["the cat again"]
    assert said(await search(user, "cat", any_word=True, conversation_id=other.id)) == ["the cat again"]
    assert said(await search(user, "the ocelot, cat", any_word=True, limit=3)) == [
        "the dog and the ocelot",
        "the cat again",
        "the cat and the dog",
    ]


async def test_without_a_word_nothing_is_found(db: Database, subtests: pytest.Subtests) -> None:
    user = (await make_conversation(db, messages=2)).user_id
    search = db.conversation.messages.search

    for text in ("", " \t", "!?", "\0", '"', "()*:^", "🙂", "\ud800"):
        with subtests.test(text=ascii(text)):
            assert await search(user, text) == await search(user, text, any_word=True) == []
