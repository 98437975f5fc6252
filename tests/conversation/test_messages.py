"""Messages: positions without gaps, whoever writes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

import agentdb
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound


async def _conversation(db: Database) -> int:
    user = await db.supervisor.users.add(username="bob")
    return (await db.conversation.conversations.create(user_id=user.id)).id


async def test_appends_of_64_tasks_have_positions_without_gaps(db: Database) -> None:
    one = await _conversation(db)
    other = (await db.conversation.conversations.create(user_id=1)).id

    messages = await asyncio.gather(
        *(db.conversation.messages.append(one if n % 3 else other, "user", f"message {n}") for n in range(64))
    )

    for conversation in (one, other):
        own = [message for message in messages if message.conversation_id == conversation]
        assert sorted(message.position for message in own) == list(range(1, len(own) + 1))
        stored = await db.conversation.conversations.get(conversation)
        assert stored.last_position == len(own)
        assert stored.last_message_at in {message.created_at for message in own}
    for number, message in enumerate(messages):
        assert (await db.conversation.messages.get(message.id)).content == f"message {number}"


async def test_two_databases_on_one_conversation_leave_no_gaps(migrated_url: str) -> None:
    async with agentdb.connect(migrated_url) as one, agentdb.connect(migrated_url) as other:
        conversation = await _conversation(one)

        messages = await asyncio.gather(
            *((one, other)[n % 2].conversation.messages.append(conversation, "user", str(n)) for n in range(64))
        )

    assert sorted(message.position for message in messages) == list(range(1, 65))


async def test_several_messages_are_appended_with_nobody_elses_between(db: Database) -> None:
    conversation = await _conversation(db)
    three = [{"role": "user", "content": str(n)} for n in range(3)]

    appended: list[Any] = await asyncio.gather(
        *(db.conversation.messages.append_many(conversation, three) for _ in range(8)),
        *(db.conversation.messages.append(conversation, "user", "x") for _ in range(8)),
    )

    positions = []
    for answer in appended:
        own = [message.position for message in (answer if isinstance(answer, list) else [answer])]
        assert own == list(range(own[0], own[0] + len(own)))
        positions += own
    assert sorted(positions) == list(range(1, 33))


async def test_a_refused_message_moves_nothing(db: Database) -> None:
    conversation = await _conversation(db)
    append = db.conversation.messages.append
    calls: list[tuple[type[Exception], Any]] = [
        (BadInput, append(conversation, "nobody", "x")),
        (BadInput, append(conversation, "user", [{"type": "text", "text": float("nan")}])),
        (BadInput, append(conversation, "user", "a\0b")),
        (MissingReference, append(conversation, "user", "x", parent_id=99)),
        (BadInput, db.conversation.messages.append_many(conversation, [])),
        (BadInput, db.conversation.messages.append_many(conversation, [{"role": "user"}])),
    ]
    for error, call in calls:
        with pytest.raises(error):
            await call

    assert (await append(conversation, "user", "first")).position == 1


async def test_a_deleted_conversation_takes_no_message(db: Database) -> None:
    conversation = await _conversation(db)
    await db.conversation.conversations.update(conversation, deleted_at=datetime.now(UTC))

    with pytest.raises(NotFound):
        await db.conversation.messages.append(conversation, "user", "x")
    with pytest.raises(NotFound):
        await db.conversation.messages.append_many(conversation, [{"role": "user", "content": "x"}])


async def test_the_latest_messages_come_oldest_first(db: Database) -> None:
    conversation = await _conversation(db)
    await db.conversation.messages.append_many(conversation, [{"role": "user", "content": str(n)} for n in range(10)])

    latest = await db.conversation.messages.latest(conversation, limit=3)

    assert [message.position for message in latest] == [8, 9, 10]


async def test_an_appended_message_equals_what_a_read_gives(db: Database) -> None:
    conversation = await _conversation(db)
    content = [{"type": "text", "text": "é", "parts": [1, None, 2.5]}]

    message = await db.conversation.messages.append(conversation, "tool", content, name="n", tool_call_id="t", tokens=7)
    read = await db.conversation.messages.get(message.id)
    content[0]["text"] = "changed"

    for attribute in message.__mapper__.column_attrs:
        assert getattr(message, attribute.key) == getattr(read, attribute.key), attribute.key


async def test_a_parent_is_of_the_same_conversation(db: Database) -> None:
    one = await _conversation(db)
    other = (await db.conversation.conversations.create(user_id=1)).id
    parent = await db.conversation.messages.append(one, "user", "x")

    with pytest.raises(agentdb.MissingReference):
        await db.conversation.messages.append(other, "user", "x", parent_id=parent.id)
    with pytest.raises(agentdb.MissingReference):
        await db.conversation.messages.append_many(other, [{"role": "user", "content": "x", "parent_id": parent.id}])
    child = await db.conversation.messages.append(one, "user", "x", parent_id=parent.id)

    assert child.parent_id == parent.id
    assert await db.conversation.messages.latest(other) == []
