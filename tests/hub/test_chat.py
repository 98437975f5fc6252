"""Chat: one conversation for the same people, by its last message, and only for those who take part."""

from __future__ import annotations

from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, NotFound
from agentdb.models import User
from agentdb.testing.factories import make_user


async def _three(db: Database) -> tuple[User, User, User]:
    return await make_user(db, username="ada"), await make_user(db, username="bob"), await make_user(db)


async def _say(db: Database, sender: User, body: str, *to: User) -> int:
    return (await db.hub.mail.send(sender.id, to=[user.id for user in to], body=body, kind="chat")).id


async def test_scenario_34_conversations_are_one_row_each_by_their_last_message(db: Database) -> None:
    ada, bob, eve = await _three(db)
    await _say(db, ada, "hello bob", bob)
    await _say(db, eve, "hello all", ada, bob)
    last = await _say(db, bob, "hello ada", ada)
    await _say(db, bob, "not for ada", eve)

    first, second = (await db.hub.mail.conversations(ada.id)).items

    assert (first.participants, first.latest_id, first.body) == (f"{ada.id},{bob.id}", last, "hello ada")
    assert (first.sender_id, first.sender_name, first.sent_as) == (bob.id, "bob", "bob")
    assert [(one.user_id, one.username) for one in first.others] == [(bob.id, "bob")]
    assert (first.unread, first.is_archived) == (1, False)
    assert (second.body, [one.user_id for one in second.others]) == ("hello all", [bob.id, eve.id])

    assert await db.hub.mail.archive_all(ada.id, "chat") == 3
    assert [(row.is_archived, row.unread) for row in (await db.hub.mail.conversations(ada.id)).items] == [(True, 0)] * 2
    assert [row.is_archived for row in (await db.hub.mail.conversations(bob.id)).items] == [False] * 3

    await _say(db, bob, "again", ada)
    assert [row.is_archived for row in (await db.hub.mail.conversations(ada.id)).items] == [False, True]


async def test_unread_messages_are_counted_for_each_conversation(db: Database) -> None:
    ada, bob, eve = await _three(db)
    lines = [await _say(db, ada, "b", bob) for _ in range(3)]
    await _say(db, eve, "b", bob)
    await _say(db, bob, "own", eve)
    await db.hub.mail.mark_read(bob.id, lines[:1])

    rows = (await db.hub.mail.conversations(bob.id)).items

    assert [(row.body, row.unread) for row in rows] == [("own", 1), ("b", 2)]


async def test_conversations_are_of_one_kind(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await _say(db, ada, "line", bob)
    await db.hub.mail.send(ada.id, to=[bob.id], subject="hello", body="letter")

    [letters] = (await db.hub.mail.conversations(bob.id, kind="mail")).items
    [lines] = (await db.hub.mail.conversations(bob.id)).items

    assert (letters.subject, letters.body, lines.body) == ("hello", "letter", "line")


async def test_conversations_come_in_pages_the_newest_first(db: Database) -> None:
    ada = await make_user(db)
    others = [await make_user(db) for _ in range(7)]
    for number, other in enumerate([*others, others[2]]):
        await _say(db, ada, str(number), other)

    bodies, after = [], None
    while True:
        page = await db.hub.mail.conversations(ada.id, limit=3, after=after)
        bodies.append([row.body for row in page.items])
        if (after := page.next) is None:
            break

    assert bodies == [["7", "6", "5"], ["4", "3", "1"], ["0"]]


async def test_a_rename_leaves_a_conversation_whole_and_shows_the_present_name(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await _say(db, ada, "before", bob)
    await db.supervisor.users.update(bob.id, username="robert")
    await _say(db, bob, "after", ada)

    [row] = (await db.hub.mail.conversations(ada.id)).items

    assert ([one.username for one in row.others], row.sent_as) == (["robert"], "robert")
    assert [one.body for one in await db.hub.mail.messages(ada.id, participants=row.participants)] == [
        "after",
        "before",
    ]


async def test_a_participant_who_is_gone_has_no_name(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await _say(db, bob, "bye", ada)

    await db.supervisor.users.remove(bob.id)

    [row] = (await db.hub.mail.conversations(ada.id)).items
    assert [(one.user_id, one.username) for one in row.others] == [(bob.id, None)]
    assert (row.sender_id, row.sent_as) == (None, "bob")


async def test_messages_of_a_conversation_are_read_from_either_side(db: Database) -> None:
    ada, bob, eve = await _three(db)
    lines = [await _say(db, (ada, bob)[n % 2], str(n), (bob, ada)[n % 2]) for n in range(6)]
    await _say(db, ada, "elsewhere", bob, eve)
    await db.hub.mail.archive(ada.id, lines[:1])
    key = f"{ada.id},{bob.id}"

    async def bodies(**window: Any) -> list[str | None]:
        return [one.body for one in await db.hub.mail.messages(ada.id, participants=key, **window)]

    assert await bodies() == ["5", "4", "3", "2", "1", "0"]
    assert await bodies(limit=2) == ["5", "4"]
    assert await bodies(before=lines[2], limit=5) == ["1", "0"]
    assert await bodies(after=lines[2], limit=2) == ["3", "4"]
    assert await bodies(after=lines[5]) == []
    letters = await db.hub.mail.messages(bob.id, with_users=[ada.id], limit=1)
    assert [(one.body, one.is_unread, one.sender_name) for one in letters] == [("5", False, "bob")]


async def test_a_conversation_is_read_by_those_who_take_part_alone(db: Database) -> None:
    ada, bob, eve = await _three(db)
    await _say(db, ada, "private", bob)
    key = f"{ada.id},{bob.id}"

    with pytest.raises(NotFound, match=f"user {eve.id} takes part in no chat conversation of users {key}"):
        await db.hub.mail.messages(eve.id, participants=key)
    with pytest.raises(NotFound):
        await db.hub.mail.messages(ada.id, participants=key, kind="mail")
    with pytest.raises(NotFound):
        await db.hub.mail.messages(ada.id, with_users=[eve.id])
    with pytest.raises(BadInput, match="one of them"):
        await db.hub.mail.messages(ada.id)
    with pytest.raises(BadInput, match="one of them"):
        await db.hub.mail.messages(ada.id, participants=key, with_users=[bob.id])
    with pytest.raises(BadInput, match="not both"):
        await db.hub.mail.messages(ada.id, participants=key, before=1, after=1)


async def test_a_conversation_is_named_by_a_text_or_by_ids(db: Database) -> None:
    user = await make_user(db)

    wrongs: tuple[dict[str, Any], ...] = (
        {"participants": 5},
        {"participants": b"1,2"},
        {"participants": "\ud800"},
        {"with_users": 5},
        {"with_users": ["a"]},
        {"with_users": [10**5_000]},  # more digits than Python spells
    )
    for wrong in wrongs:
        with pytest.raises(BadInput, match=r"participants is the key|with_users"):
            await db.hub.mail.messages(user.id, **wrong)


async def test_whoever_had_a_blind_copy_reads_that_message_of_the_conversation_alone(db: Database) -> None:
    ada, bob, eve = await _three(db)
    await _say(db, ada, "between us", bob)
    told = await db.hub.mail.send(ada.id, to=[bob.id], bcc=[eve.id], body="eve, look", kind="chat")

    letters = await db.hub.mail.messages(eve.id, participants=told.participants)

    assert [letter.body for letter in letters] == ["eve, look"]
    assert [one.user_id for one in letters[0].recipients] == [bob.id, eve.id]
