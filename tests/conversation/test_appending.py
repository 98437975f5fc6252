"""Appending: what is asked of the conversation, what a message may say, and what an edit keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.testing.factories import make_conversation, make_user


async def test_a_message_is_appended_only_behind_the_expected_position(db: Database) -> None:
    conversation = (await make_conversation(db, messages=2)).id
    messages = db.conversation.messages

    third = await messages.append(conversation, "user", "x", expected_position=2)
    with pytest.raises(StaleVersion, match="position 3, not 2"):
        await messages.append(conversation, "user", "x", expected_position=2)
    with pytest.raises(StaleVersion):
        await messages.append(conversation, "user", "x", parent_id=third.id, expected_position=0)
    with pytest.raises(StaleVersion):
        await messages.append_many(conversation, [{"role": "user", "content": "x"}], expected_position=4)
    more = await messages.append_many(conversation, [{"role": "user", "content": "x"}] * 2, expected_position=3)

    assert [third.position, *(message.position for message in more)] == [3, 4, 5]
    assert (await db.conversation.conversations.get(conversation)).last_position == 5


async def test_a_stale_expectation_in_an_open_unit_leaves_the_unit_as_it_is(db: Database) -> None:
    conversation = (await make_conversation(db, messages=1)).id

    async with db.write() as unit:
        with pytest.raises(StaleVersion):
            await unit.conversation.messages.append(conversation, "user", "x", expected_position=7)
        await unit.conversation.messages.append(conversation, "user", "y", expected_position=1)

    assert [message.content for message in await db.conversation.messages.latest(conversation)] == ["message 1", "y"]


async def test_nobody_appends_to_somebody_elses_conversation(db: Database) -> None:
    conversation = await make_conversation(db)
    stranger = (await make_user(db)).id
    messages = db.conversation.messages

    with pytest.raises(NotFound):
        await messages.append(conversation.id, "user", "x", user_id=stranger)
    with pytest.raises(NotFound):
        await messages.append(conversation.id, "user", "x", user_id=stranger, expected_position=0)
    with pytest.raises(NotFound):
        await messages.append_many(conversation.id, [{"role": "user", "content": "x"}], user_id=stranger)
    own = await messages.append(conversation.id, "user", "x", user_id=conversation.user_id)
    with pytest.raises(NotFound):
        await messages.edit(own.id, "y", user_id=stranger)

    assert own.position == 1
    assert await messages.count() == 1


NO_CONTENT: tuple[tuple[Any, str], ...] = (
    (None, "not NoneType"),
    (7, "not int"),
    ({"type": "text"}, "not dict"),
    (("x",), "not tuple"),
    (["x"], "block 0 is an object"),
    ([{"type": "text"}, {"text": "x"}], "block 1 has no type"),
    ([{"type": 7}], "block 0 has no type"),
    ([{"type": ""}], "block 0 has no type"),
)


async def test_content_is_a_text_or_blocks_with_a_type(db: Database, subtests: pytest.Subtests) -> None:
    conversation = (await make_conversation(db, messages=1)).id
    messages = db.conversation.messages
    (first,) = await messages.latest(conversation)
    calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
        "append": lambda content: messages.append(conversation, "user", content),
        "append_many": lambda content: messages.append_many(conversation, [{"role": "user", "content": content}]),
        "edit": lambda content: messages.edit(first.id, content),
        "update": lambda content: messages.update(first.id, content=content),
    }

    for name, (content, why) in product(calls, NO_CONTENT):
        with subtests.test(call=name, content=content), pytest.raises(BadInput, match=why):
            await calls[name](content)

    assert await messages.count() == 1


async def test_a_place_in_a_conversation_is_only_given_by_appending(db: Database) -> None:
    conversation = (await make_conversation(db, messages=2)).id
    messages = db.conversation.messages
    first, second = await messages.latest(conversation)

    for place in ({"position": 9}, {"conversation_id": 9}, {"parent_id": second.id}):
        with pytest.raises(BadInput, match="never changes"):
            await messages.update(first.id, **place)
    with pytest.raises(BadInput, match="given by appending"):
        await messages.append_many(conversation, [{"role": "user", "content": "x", "position": 7}])
    kept: list[dict[str, Any]] = [{"last_position": 9}, {"last_message_at": db.now()}, {"summary_message_id": first.id}]
    for change in kept:
        with pytest.raises(BadInput, match="moves it"):
            await db.conversation.conversations.update(conversation, **change)
    changed = await messages.update(first.id, tokens=7, content=[])

    assert (changed.tokens, changed.content, changed.position) == (7, [], 1)


async def test_the_last_message_is_never_earlier_than_the_one_before(db: Database) -> None:
    conversation = (await make_conversation(db)).id
    messages, noon = db.conversation.messages, datetime(2026, 3, 9, 12, tzinfo=UTC)
    moments = []

    async def told() -> None:
        moments.append((await db.conversation.conversations.get(conversation)).last_message_at)

    await told()
    for turn, hours in enumerate((0, -1, 1)):
        with clock.hold(noon + timedelta(hours=hours)):
            await messages.append(conversation, "user", "x")
            await told()
            await messages.append_many(conversation, [{"role": "user", "content": "x"}])
            await messages.append(conversation, "user", "x", expected_position=3 * turn + 2)
            await told()

    assert moments == [None, noon, noon, noon, noon, noon + timedelta(hours=1), noon + timedelta(hours=1)]


async def test_an_edit_stands_beside_what_it_edits(db: Database) -> None:
    conversation = (await make_conversation(db)).id
    messages = db.conversation.messages
    root = await messages.append(conversation, "user", "x")
    said = await messages.append(
        conversation, "tool", "old", parent_id=root.id, name="n", tool_call_id="c", metadata={"a": 1}, tokens=3
    )
    await messages.append(conversation, "user", "meanwhile", parent_id=said.id)

    edited = await messages.edit(said.id, "new", tokens=4)
    again = await messages.edit(edited.id, "newer", metadata={"b": 2})

    assert (edited.parent_id, edited.position, edited.content, edited.tokens) == (root.id, 4, "new", 4)
    assert (edited.role, edited.name, edited.tool_call_id) == ("tool", "n", "c")
    assert edited.metadata_ == {"a": 1, "edited_from": said.id}
    assert (again.parent_id, again.metadata_, again.tokens) == (root.id, {"b": 2, "edited_from": edited.id}, None)
    assert (await messages.get(said.id)).content == "old"
    with pytest.raises(NotFound):
        await messages.edit(4_711, "x")
