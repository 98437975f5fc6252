"""Deleting: what is not shown, what comes back, and what is gone for good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, MissingReference, NotFound
from agentdb.testing.factories import make_conversation, make_user

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)


async def test_a_deleted_conversation_and_what_belongs_to_it_is_not_shown(db: Database) -> None:
    conversation = await make_conversation(db, key="key", messages=3)
    user, key = conversation.user_id, conversation.id
    conversations, messages, resources = (
        db.conversation.conversations,
        db.conversation.messages,
        db.conversation.resources,
    )
    first = (await messages.latest(key))[0].id
    resource = (await resources.attach("notes", message_id=first)).id
    own = (await resources.attach("kept", user_id=user)).id

    deleted = await conversations.delete(key, user_id=user)

    assert deleted.deleted_at is not None
    missing: list[Callable[[], Awaitable[Any]]] = [
        lambda: conversations.get(key),
        lambda: conversations.get(key, user_id=user),
        lambda: conversations.rename(key, "x"),
        lambda: conversations.update(key, title="x"),
        lambda: conversations.set_summary(key, first),
        lambda: conversations.delete(key),
        lambda: messages.get(first),
        lambda: messages.update(first, tokens=1),
        lambda: messages.append(key, "user", "x"),
        lambda: messages.append(key, "user", "x", parent_id=first),
        lambda: messages.append_many(key, [{"role": "user", "content": "x"}]),
        lambda: messages.edit(first, "x"),
        lambda: messages.latest(key),
        lambda: messages.before(key, 9),
        lambda: messages.after(key, 0),
        lambda: messages.context(key),
        lambda: messages.children(first),
        lambda: messages.path(first),
        lambda: messages.branches(key),
        lambda: messages.tokens(key),
        lambda: messages.roles(key),
        lambda: resources.get(resource),
        lambda: resources.update(resource, name="x"),
        lambda: resources.attach("x", conversation_id=key),
        lambda: resources.attach("x", message_id=first),
    ]
    for call in missing:
        with pytest.raises(NotFound):
            await call()
    assert await conversations.find(key) is None
    assert await conversations.by_key("key") is None
    assert await messages.find(first) is None
    assert await resources.find(resource) is None
    assert [await conversations.count(), await messages.count(), await resources.count()] == [0, 0, 1]
    pages: list[Any] = [
        await conversations.page(),
        await conversations.newest(user_id=user),
        await conversations.recent(user_id=user),
        await messages.page(),
        await resources.of_conversation(key),
    ]
    assert [page.items for page in pages] == [[]] * 5
    assert [one.id for one in (await resources.of_user(user)).items] == [own]
    assert [one async for one in conversations.stream()] == []
    assert [one async for one in messages.stream()] == []
    assert not await messages.exists(conversation_id=key)


async def test_deleted_ones_are_listed_only_when_they_are_asked_for(db: Database) -> None:
    user = (await make_user(db)).id
    made = [(await make_conversation(db, user_id=user, title=str(number))).id for number in range(4)]
    conversations = db.conversation.conversations
    with clock.hold(NOON) as hand:
        for number in (2, 0, 3):
            hand.forward(timedelta(minutes=1))
            await conversations.delete(made[number])

    page = await conversations.deleted(user_id=user, limit=2)
    rest = await conversations.deleted(user_id=user, limit=2, after=page.next)

    assert [one.title for one in page.items + rest.items] == ["3", "0", "2"]
    assert (await conversations.deleted(user_id=(await make_user(db)).id)).items == []
    assert await conversations.count(deleted_at__ne=None) == 3
    assert await conversations.count() == 1
    assert await conversations.exists(title="3")


async def test_a_restored_conversation_is_as_it_was(db: Database) -> None:
    conversation = await make_conversation(db, key="key", messages=3)
    conversations, messages = db.conversation.conversations, db.conversation.messages
    await conversations.delete(conversation.id)

    with pytest.raises(NotFound):
        await conversations.restore(conversation.id, user_id=(await make_user(db)).id)
    restored = await conversations.restore(conversation.id, user_id=conversation.user_id)

    assert (restored.deleted_at, restored.last_position, restored.key) == (None, 3, "key")
    assert (await messages.append(conversation.id, "user", "x")).position == 4
    with pytest.raises(NotFound):
        await conversations.restore(conversation.id)


async def test_a_deleted_conversation_keeps_its_key_until_it_is_purged(db: Database) -> None:
    conversation = await make_conversation(db, key="key")
    conversations = db.conversation.conversations
    await conversations.delete(conversation.id)

    with pytest.raises(Conflict, match="is deleted"):
        await conversations.get_or_create("key", user_id=conversation.user_id)
    await conversations.purge(conversation.id)
    again, created = await conversations.get_or_create("key", user_id=conversation.user_id)

    assert created
    assert again.id > conversation.id


async def test_a_purge_removes_all_that_belongs_to_a_deleted_conversation(db: Database) -> None:
    kept, gone = [await make_conversation(db, messages=2) for _ in range(2)]
    conversations, messages = db.conversation.conversations, db.conversation.messages
    first, _ = await messages.latest(gone.id)
    summary = await messages.append(gone.id, "user", "summary", parent_id=first.id)
    await conversations.set_summary(gone.id, summary.id)
    await db.conversation.resources.attach("notes", message_id=first.id)

    with pytest.raises(NotFound, match="no deleted conversation"):
        await conversations.purge(gone.id)
    await conversations.delete(gone.id)
    with pytest.raises(NotFound):
        await conversations.purge(gone.id, user_id=kept.user_id)
    await conversations.purge(gone.id, user_id=gone.user_id)

    assert await conversations.count(deleted_at__ne=None) == 0
    assert {message.conversation_id for message in (await messages.page()).items} == {kept.id}
    totals = await db.reports.activity.totals()
    assert (totals.conversations, totals.messages) == (1, 2)
    with pytest.raises(NotFound):
        await conversations.restore(gone.id)


async def test_a_purge_takes_what_was_deleted_before_a_moment_in_batches(db: Database) -> None:
    made = [(await make_conversation(db, messages=1)).id for _ in range(7)]
    conversations = db.conversation.conversations
    with clock.hold(NOON) as hand:
        for key in made[:6]:
            await conversations.delete(key)
            hand.forward(timedelta(hours=1))

    purged = await conversations.purge_deleted(before=NOON + timedelta(hours=5), batch=2)

    assert purged == 5
    assert [one.id for one in (await conversations.page(deleted_at__ne=None)).items] == [made[5]]
    assert await conversations.count() == 1
    assert await db.conversation.messages.count() == 1
    assert await conversations.purge_deleted(before=NOON + timedelta(hours=5)) == 0


async def test_only_a_users_own_conversations_with_an_agent_are_deleted(db: Database) -> None:
    user, other = (await make_user(db)).id, (await make_user(db)).id
    agent, _ = await db.catalog.agents.get_or_create("ada")
    conversations = db.conversation.conversations
    mine = [(await make_conversation(db, user_id=user, agent_id=agent.id)).id for _ in range(2)]
    kept = {(await make_conversation(db, user_id=user)).id}
    kept |= {(await make_conversation(db, user_id=other, agent_id=agent.id)).id}
    await conversations.delete(mine[0])

    assert await conversations.delete_with_agent(agent.id, user_id=user) == 1
    assert {one.id for one in (await conversations.page()).items} == kept


async def test_a_summary_is_a_message_of_the_same_conversation(db: Database) -> None:
    one, other = [await make_conversation(db, messages=1) for _ in range(2)]
    conversations, messages = db.conversation.conversations, db.conversation.messages
    (own,), (strange,) = await messages.latest(one.id), await messages.latest(other.id)

    for message in (strange.id, 4_711, 0):
        with pytest.raises(MissingReference, match="same conversation") as refused:
            await conversations.set_summary(one.id, message)
        assert refused.value.constraint == "fk_conversations__summary_message_id"
    with pytest.raises(NotFound):
        await conversations.set_summary(one.id, own.id, user_id=other.user_id)
    with pytest.raises(NotFound):
        await conversations.set_summary(4_711, own.id)
    assert (await conversations.get(one.id)).summary_message_id is None
    assert (await conversations.set_summary(one.id, own.id, user_id=one.user_id)).summary_message_id == own.id
    await messages.remove(own.id)
    assert (await conversations.get(one.id)).summary_message_id is None
    assert (await conversations.set_summary(one.id, None)).summary_message_id is None


async def test_a_new_conversation_has_no_summary_of_anothers(db: Database) -> None:
    other = await make_conversation(db, messages=1)
    (strange,) = await db.conversation.messages.latest(other.id)
    conversations, row = db.conversation.conversations, {"user_id": other.user_id, "summary_message_id": strange.id}

    with pytest.raises(BadInput, match="set_summary"):
        await conversations.add(**row)
    with pytest.raises(BadInput, match="set_summary"):
        await conversations.add_many(iter([{"user_id": other.user_id}, row]))
    assert await conversations.count() == 1
    assert await conversations.add_many([{"user_id": other.user_id, "summary_message_id": None}]) == 1


async def test_an_upsert_does_not_change_what_is_deleted(db: Database) -> None:
    conversation = await make_conversation(db, key="key", title="as it was")
    conversations = db.conversation.conversations
    await conversations.delete(conversation.id)
    values: dict[str, Any] = {"key": "key", "user_id": conversation.user_id, "title": "another"}

    with pytest.raises(Conflict, match="deleted"):
        await conversations.upsert(on=["key"], **values)
    async with db.write() as unit:
        with pytest.raises(Conflict, match="deleted"):
            await unit.conversation.conversations.upsert(on=["key"], **values)
    assert (await conversations.restore(conversation.id)).title == "as it was"
    assert (await conversations.upsert(on=["key"], **values)).title == "another"


async def test_an_upsert_gives_no_conversation_to_another_user(db: Database) -> None:
    conversation, stranger = await make_conversation(db, key="key", title="as it was"), await make_user(db)

    with pytest.raises(Conflict, match="another user's"):
        await db.conversation.conversations.upsert(on=["key"], key="key", user_id=stranger.id, title="taken")

    there = await db.conversation.conversations.get(conversation.id)
    assert (there.user_id, there.title) == (conversation.user_id, "as it was")
