"""Generic writes of conversations and messages: what would break the order of what was said is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict
from agentdb.repository import Repository
from agentdb.testing.factories import make_conversation, make_user


async def test_a_message_is_added_by_appending_alone(db: Database) -> None:
    conversation = (await make_conversation(db, messages=1)).id
    messages = db.conversation.messages
    row: dict[str, Any] = {"conversation_id": conversation, "position": 2, "role": "user", "content": "x"}
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: messages.add(**row),
        lambda: messages.add_many([row]),
        lambda: messages.upsert(on=["conversation_id", "position"], **row),
    ]

    for call in calls:
        with pytest.raises(BadInput, match="append"):
            await call()
    assert (await messages.append(conversation, "user", "x")).position == 2


async def test_what_a_row_is_known_by_never_changes(db: Database, subtests: pytest.Subtests) -> None:
    conversation = await make_conversation(db, messages=1)
    resource = await db.conversation.resources.attach("note", conversation_id=conversation.id)
    (message,) = await db.conversation.messages.latest(conversation.id)
    values: dict[str, Any] = {"id": 4_711, "uuid": uuid4(), "created_at": clock.now()}
    rows: list[tuple[Repository[Any], int]] = [
        (db.conversation.conversations, conversation.id),
        (db.conversation.messages, message.id),
        (db.conversation.resources, resource.id),
    ]

    for (repository, key), name in product(rows, values):
        with subtests.test(of=repository.model.__tablename__, name=name):
            with pytest.raises(BadInput):
                await repository.update(key, **{name: values[name]})
            assert await repository.exists(id=key)


async def test_an_upsert_does_not_move_a_conversations_count(db: Database) -> None:
    conversation = await make_conversation(db, messages=2, key="key")
    conversations = db.conversation.conversations

    for name, value in {"last_position": 9, "last_message_at": clock.now(), "summary_message_id": 1}.items():
        with pytest.raises(BadInput, match=name):
            await conversations.upsert(on=["key"], key="key", user_id=conversation.user_id, **{name: value})
    renamed = await conversations.upsert(on=["key"], key="key", user_id=conversation.user_id, title="new")

    assert (renamed.id, renamed.title, renamed.last_position) == (conversation.id, "new", 2)


async def test_what_is_no_message_is_refused(agentdb: Database, subtests: pytest.Subtests) -> None:
    conversation = (await make_conversation(agentdb)).id

    some: tuple[Any, ...] = ("text", 5, None, ["user", "x"])
    for message in some:
        with subtests.test(message=message), pytest.raises(BadInput, match="object with a role"):
            await agentdb.conversation.messages.append_many(conversation, [message])


async def test_metadata_that_is_no_object_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    conversation = await make_conversation(db, messages=1)
    messages = db.conversation.messages
    (message,) = await messages.latest(conversation.id)
    calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
        "append": lambda metadata: messages.append(conversation.id, "user", "x", metadata=metadata),
        "append_many": lambda metadata: messages.append_many(
            conversation.id, [{"role": "user", "content": "x", "metadata": metadata}]
        ),
        "edit": lambda metadata: messages.edit(message.id, "x", metadata=metadata),
        "update": lambda metadata: messages.update(message.id, metadata=metadata),
    }

    for name, metadata in product(calls, ([1], "text", 5)):
        with (
            subtests.test(call=name, metadata=metadata),
            pytest.raises(BadInput, match=r"messages\.metadata is an object"),
        ):
            await calls[name](metadata)
    assert await messages.count() == 1


async def test_a_page_begins_at_a_position(agentdb: Database) -> None:
    conversation = (await make_conversation(agentdb, messages=1)).id
    messages: Any = agentdb.conversation.messages
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: messages.before(conversation, None),
        lambda: messages.after(conversation, None),
        lambda: messages.tokens(conversation, since=None),
    ]

    for call in calls:
        with pytest.raises(BadInput, match="a position is a whole number"):
            await call()


async def test_a_conversation_is_not_found_again_without_a_key(agentdb: Database, subtests: pytest.Subtests) -> None:
    user = (await make_user(agentdb)).id

    some: tuple[Any, ...] = (None, "")
    for key in some:
        with subtests.test(key=key), pytest.raises(BadInput, match="by a key"):
            await agentdb.conversation.conversations.get_or_create(key, user_id=user)
    assert await agentdb.conversation.conversations.count() == 0


async def test_a_key_that_a_tenant_does_not_see_is_refused_and_holds_up_nobody(db: Database) -> None:
    taken = await make_conversation(db, key="key")
    tenant = (await make_user(db)).id
    mine = db.as_user(tenant).conversation.conversations

    with pytest.raises(Conflict, match="another user's"):
        await asyncio.wait_for(mine.get_or_create("key", user_id=tenant), 20)
    assert (await db.conversation.conversations.get_or_create("key", user_id=taken.user_id))[0].id == taken.id
