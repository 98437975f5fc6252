"""Many at once on one conversation."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy import text

import agentdb
from agentdb.database import Database
from agentdb.errors import Conflict, NotFound, StaleVersion
from agentdb.models import Message
from agentdb.testing.factories import make_conversation, make_user

_WRITER = """
import asyncio, sys, agentdb
async def main(url, conversation):
    async with agentdb.connect(url) as db:
        append = db.conversation.messages.append
        async def insist(number):
            while True:
                last = (await db.conversation.conversations.get(conversation)).last_position
                try:
                    return await append(conversation, "user", str(last + 1), expected_position=last)
                except agentdb.StaleVersion:
                    pass
        await asyncio.gather(*(insist(number) for number in range(5)), append_some(db, conversation))
async def append_some(db, conversation):
    found, created = await db.conversation.conversations.get_or_create("shared", user_id=1)
    await db.conversation.messages.append(found.id, "user", "created" if created else "found")
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_thirty_writers_leave_no_gap_and_no_silent_interleaving(db: Database) -> None:
    conversation = (await make_conversation(db)).id
    messages = db.conversation.messages

    async def turn(number: int) -> list[Message]:
        if number % 3 == 0:
            return [await messages.append(conversation, "user", str(number))]
        if number % 3 == 1:
            three = [{"role": "user", "content": str(number)}] * 3
            return await messages.append_many(conversation, three)
        (parent,) = await messages.append_many(conversation, [{"role": "user", "content": str(number)}])
        return [parent, await messages.append(conversation, "assistant", str(number), parent_id=parent.id)]

    turns = await asyncio.gather(*(turn(number) for number in range(30)))

    assert sorted(one.position for turn_ in turns for one in turn_) == list(range(1, 61))
    for number in range(1, 30, 3):
        first = turns[number][0].position
        assert [message.position for message in turns[number]] == [first, first + 1, first + 2]
    stored = await db.conversation.conversations.get(conversation)
    assert stored.last_position == 60
    assert stored.last_message_at == max(message.created_at for turn_ in turns for message in turn_)


@pytest.mark.parametrize("many", [False, True])
async def test_of_ten_who_expect_the_same_position_exactly_one_appends(db: Database, many: bool) -> None:
    conversation = (await make_conversation(db, messages=4)).id
    messages = db.conversation.messages

    async def append(number: int) -> None:
        if many:
            two = [{"role": "user", "content": str(number)}] * 2
            await messages.append_many(conversation, two, expected_position=4)
        else:
            await messages.append(conversation, "user", str(number), expected_position=4)

    answers = await asyncio.gather(*(append(number) for number in range(10)), return_exceptions=True)

    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, StaleVersion) for answer in answers) == 9
    assert await messages.count(conversation_id=conversation) == (6 if many else 5)


async def test_a_writer_that_waited_for_another_sees_that_it_is_too_late(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    conversation = (await make_conversation(db, messages=1)).id

    async with db.write() as unit:
        await unit.conversation.messages.append(conversation, "user", "first")
        late = asyncio.create_task(db.conversation.messages.append(conversation, "user", "late", expected_position=1))
        await asyncio.create_task(_waiting(db, 1))

    with pytest.raises(StaleVersion, match="position 2, not 1"):
        await late


async def test_an_append_that_waited_for_a_deletion_is_refused(agentdb_postgresql: Database) -> None:
    db = agentdb_postgresql
    conversation = (await make_conversation(db)).id

    async with db.write() as unit:
        await unit.conversation.conversations.delete(conversation)
        late = [
            asyncio.create_task(db.conversation.messages.append(conversation, "user", "late")),
            asyncio.create_task(db.conversation.messages.append_many(conversation, [{"role": "user", "content": ""}])),
            asyncio.create_task(db.conversation.resources.attach("late", conversation_id=conversation)),
        ]
        await asyncio.create_task(_waiting(db, 3))
    answers = await asyncio.gather(*late, return_exceptions=True)

    assert [type(answer) for answer in answers] == [NotFound] * 3
    await db.conversation.conversations.restore(conversation)
    assert await db.conversation.messages.latest(conversation) == []
    assert (await db.conversation.resources.of_conversation(conversation)).items == []


async def test_a_deletion_among_appends_comes_after_every_message_that_was_stored(db: Database) -> None:
    conversation = (await make_conversation(db)).id
    messages = db.conversation.messages

    async def append(number: int) -> int:
        return (await messages.append(conversation, "user", str(number))).position

    answers = await asyncio.gather(
        *(append(number) for number in range(10)),
        db.conversation.conversations.delete(conversation),
        *(append(number) for number in range(10)),
        return_exceptions=True,
    )

    stored = [answer for answer in answers if isinstance(answer, int)]
    refused = [answer for answer in answers if isinstance(answer, NotFound)]
    assert len(stored) + len(refused) == 20
    restored = await db.conversation.conversations.restore(conversation)
    assert restored.last_position == len(stored)
    assert sorted(stored) == [message.position for message in await messages.latest(conversation)]


async def test_a_storm_of_32_gets_one_conversation(db: Database) -> None:
    user, stranger = (await make_user(db)).id, (await make_user(db)).id
    get_or_create = db.conversation.conversations.get_or_create

    answers = await asyncio.gather(*(get_or_create("key", user_id=user) for _ in range(32)))
    await asyncio.gather(*(get_or_create(f"key {number}", user_id=user) for number in range(8)))

    assert len({conversation.id for conversation, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert await db.conversation.conversations.count() == 9
    with pytest.raises(Conflict, match="another user's"):
        await get_or_create("key", user_id=stranger)


async def test_a_purge_and_a_restoration_at_once_leave_all_or_nothing(db: Database) -> None:
    made = [await make_conversation(db, messages=3) for _ in range(6)]
    conversations = db.conversation.conversations
    for conversation in made:
        await conversations.delete(conversation.id)

    answers = await asyncio.gather(
        conversations.purge_deleted(before=db.now() + timedelta(seconds=1), batch=2),
        *(conversations.restore(conversation.id) for conversation in made),
        conversations.purge_deleted(before=db.now() + timedelta(seconds=1), batch=2),
        return_exceptions=True,
    )

    restored = sum(not isinstance(answer, BaseException) for answer in answers[1:-1])
    assert all(isinstance(answer, NotFound) for answer in answers[1:-1] if isinstance(answer, BaseException))
    purged = answers[0], answers[-1]
    assert isinstance(purged[0], int)
    assert isinstance(purged[1], int)
    assert purged[0] + purged[1] + restored == 6
    assert await db.conversation.messages.count() == 3 * restored


@pytest.mark.long
async def test_processes_that_insist_append_one_after_another(database_url: str) -> None:
    async with agentdb.connect(database_url) as db:
        conversation = (await make_conversation(db)).id
        await asyncio.to_thread(_together, database_url, str(conversation))

        said = await db.conversation.messages.latest(conversation)
        shared = await db.conversation.conversations.by_key("shared")
        assert shared is not None
        who = [message.content for message in await db.conversation.messages.latest(shared.id)]

    # Each says the position it expected to be at.
    assert [(message.position, message.content) for message in said] == [(n, str(n)) for n in range(1, 16)]
    assert sorted(who) == ["created", "found", "found"]


async def _waiting(db: Database, many: int) -> None:
    """Wait until so many connections of this database wait for a lock."""
    asked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(20):
        while True:
            async with db.sessions() as session:
                if (await session.execute(asked)).scalar_one() >= many:
                    return
            await asyncio.sleep(0.02)


def _together(*arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, *arguments], stderr=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(3)
    ]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
