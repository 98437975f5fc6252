"""The tree of a conversation: children, the way to the root, and the branches."""

from __future__ import annotations

import pytest

from agentdb.conversation.models import Message
from agentdb.database import Database
from agentdb.errors import NotFound
from agentdb.testing.factories import make_conversation


async def tree(db: Database, *parents: int | None) -> list[int]:
    """Make a conversation of messages with these parents, by their place from 1, and return their ids."""
    conversation = (await make_conversation(db)).id
    ids: list[int] = []
    for parent in parents:
        parent_id = None if parent is None else ids[parent - 1]
        ids.append((await db.conversation.messages.append(conversation, "user", "x", parent_id=parent_id)).id)
    return ids


async def test_children_are_in_order_and_come_in_pages(db: Database) -> None:
    await tree(db, None, 1)
    ids = await tree(db, None, 1, 1, 2, 1)
    messages = db.conversation.messages

    assert [child.id for child in await messages.children(ids[0])] == [ids[1], ids[2], ids[4]]
    assert [child.id for child in await messages.children(ids[0], limit=1, after=2)] == [ids[2]]
    assert await messages.children(ids[4]) == []
    with pytest.raises(NotFound):
        await messages.children(4_711)


async def test_a_path_leads_from_the_root_to_the_message(db: Database) -> None:
    ids = await tree(db, None, 1, 1, 2, 4, 4)
    messages = db.conversation.messages

    assert [one.id for one in await messages.path(ids[5])] == [ids[0], ids[1], ids[3], ids[5]]
    assert [one.id for one in await messages.path(ids[5], limit=2)] == [ids[3], ids[5]]
    assert [one.id for one in await messages.path(ids[0])] == [ids[0]]
    with pytest.raises(NotFound):
        await messages.path(4_711)


async def test_a_branch_ends_where_nobody_answers(db: Database) -> None:
    await tree(db, None, 1, None)
    ids = await tree(db, None, 1, 1, 2, 4, None)
    messages = db.conversation.messages
    own = (await messages.get(ids[0])).conversation_id

    branches = await messages.branches(own)

    assert [(one.leaf_id, one.root_id, one.messages, one.last_position) for one in branches] == [
        (ids[5], ids[5], 1, 6),
        (ids[4], ids[0], 4, 5),
        (ids[2], ids[0], 2, 3),
    ]
    assert branches[1].last_message_at == (await messages.get(ids[4])).created_at
    assert [one.leaf_id for one in await messages.branches(own, limit=1)] == [ids[5]]
    assert await messages.branches((await make_conversation(db)).id) == []


async def test_removing_a_message_leaves_its_children_as_roots(db: Database) -> None:
    ids = await tree(db, None, 1, 2)
    messages = db.conversation.messages

    await messages.remove(ids[1])

    assert [one.id for one in await messages.path(ids[2])] == [ids[2]]
    assert (await messages.get(ids[2])).parent_id is None


async def test_a_path_of_two_thousand_is_read_at_once(db: Database) -> None:
    conversation = (await make_conversation(db)).id
    first = await db.conversation.messages.append(conversation, "user", "x")
    rows = [
        {
            "id": first.id + n,
            "conversation_id": conversation,
            "position": n + 1,
            "role": "user",
            "content": "x",
            "parent_id": first.id + n - 1,
        }
        for n in range(1, 2_000)
    ]
    await db.conversation.messages.connection.insert_many(Message.__table__, rows)  # type: ignore[arg-type]

    path = await db.conversation.messages.path(first.id + 1_999, limit=1_000)

    assert [message.position for message in path] == list(range(1_001, 2_001))
    (branch,) = await db.conversation.messages.branches(conversation)
    assert (branch.messages, branch.root_id) == (2_000, first.id)
