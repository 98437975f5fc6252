"""Lists of mail: what is a user's, newest first, page by page, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, NotFound
from agentdb.hub.mailing.letters import Letter
from agentdb.models import User
from agentdb.testing.factories import make_user


async def _three(db: Database) -> tuple[User, User, User]:
    return await make_user(db, username="ada"), await make_user(db, username="bob"), await make_user(db)


def _ids(letters: Iterable[Letter]) -> list[int]:
    return [letter.id for letter in letters]


async def test_scenario_32_what_was_received_leaves_out_what_was_sent_unless_to_oneself(db: Database) -> None:
    ada, bob, _ = await _three(db)
    mail = db.hub.mail
    sent = await mail.send(ada.id, to=[bob.id], body="b")
    answer = await mail.send(bob.id, to=[ada.id], body="b")
    note = await mail.send(ada.id, to=[ada.id], body="b")

    assert _ids((await mail.received(ada.id)).items) == [note.id, answer.id]
    assert _ids((await mail.sent(ada.id)).items) == [note.id, sent.id]
    assert _ids((await mail.both(ada.id)).items) == [note.id, answer.id, sent.id]


async def test_a_row_of_a_list_tells_what_a_client_shows(db: Database) -> None:
    ada, bob, eve = await _three(db)
    message = await db.hub.mail.send(ada.id, to=[bob.id], cc=[eve.id], subject="hello", body="long")

    [row] = (await db.hub.mail.received(bob.id)).items

    assert (row.id, str(row.kind), row.subject, row.body) == (message.id, "mail", "hello", None)
    assert (row.sender_id, row.sender_name, row.sent_as) == (ada.id, "ada", "ada")
    assert (row.created_at, row.is_unread, row.read_at, row.archived_at) == (message.created_at, True, None, None)
    assert [(one.user_id, one.username, str(one.type)) for one in row.recipients] == [
        (bob.id, "bob", "to"),
        (eve.id, eve.username, "cc"),
    ]
    assert row.attachments == ()


async def test_the_body_is_in_lists_of_chat_and_not_of_mail(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await db.hub.mail.send(ada.id, to=[bob.id], body="a letter")
    await db.hub.mail.send(ada.id, to=[bob.id], body="a line", kind="chat")

    assert [row.body for row in (await db.hub.mail.received(bob.id)).items] == ["a line", None]


async def test_a_list_is_of_one_kind_or_of_both(db: Database) -> None:
    ada, bob, _ = await _three(db)
    mail = db.hub.mail
    letter = await mail.send(ada.id, to=[bob.id], body="b")
    line = await mail.send(bob.id, to=[ada.id], body="b", kind="chat")

    assert _ids((await mail.both(ada.id, kind="mail")).items) == [letter.id]
    assert _ids((await mail.both(ada.id, kind="chat")).items) == [line.id]
    assert _ids((await mail.both(ada.id)).items) == [line.id, letter.id]
    with pytest.raises(BadInput, match="'fax' is not a kind of message"):
        await mail.both(ada.id, kind="fax")


async def test_a_sent_message_is_never_unread_to_its_sender(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await db.hub.mail.send(ada.id, to=[bob.id], body="b")
    await db.hub.mail.send(ada.id, to=[ada.id], body="b")

    assert [row.is_unread for row in (await db.hub.mail.sent(ada.id)).items] == [True, False]


async def test_a_blind_copy_is_known_to_the_sender_and_to_whom_it_is_for(db: Database) -> None:
    ada, bob, eve = await _three(db)
    zoe = await make_user(db)
    message = await db.hub.mail.send(ada.id, to=[bob.id], bcc=[eve.id, zoe.id], body="b")

    async def seen_by(user: User) -> list[int]:
        return [one.user_id for one in (await db.hub.mail.message(user.id, message.id)).recipients]

    assert await seen_by(ada) == [bob.id, eve.id, zoe.id]
    assert await seen_by(bob) == [bob.id]
    assert await seen_by(eve) == [bob.id, eve.id]
    assert [row.id for row in (await db.hub.mail.received(eve.id)).items] == [message.id]


async def test_pages_hold_every_message_once(db: Database) -> None:
    ada, bob, _ = await _three(db)
    sent = []
    for number in range(11):
        sender, to = ((ada, bob), (bob, ada), (ada, ada))[number % 3]
        sent.append(await db.hub.mail.send(sender.id, to=[to.id], body="b", kind=("mail", "chat")[number % 2]))

    pages, after = [], None
    while True:
        page = await db.hub.mail.both(ada.id, limit=3, after=after)
        pages.append(_ids(page.items))
        if (after := page.next) is None:
            break

    assert [len(page) for page in pages] == [3, 3, 3, 2]
    assert [one for page in pages for one in page] == sorted((message.id for message in sent), reverse=True)
    with pytest.raises(BadInput, match="another list"):
        await db.hub.mail.sent(ada.id, after=(await db.hub.mail.both(ada.id, limit=1)).next)


async def test_with_users_finds_what_exactly_these_sent_to_each_other_even_after_a_rename(db: Database) -> None:
    ada, bob, eve = await _three(db)
    mail = db.hub.mail
    first = await mail.send(ada.id, to=[bob.id], body="b")
    await mail.send(ada.id, to=[bob.id], cc=[eve.id], body="b")
    await db.supervisor.users.update(bob.id, username="robert")
    second = await mail.send(bob.id, to=[ada.id], body="b", kind="chat")

    assert _ids((await mail.with_users(ada.id, [bob.id])).items) == [second.id, first.id]
    assert _ids((await mail.with_users(bob.id, [ada.id], kind="mail")).items) == [first.id]
    assert _ids((await mail.with_users(eve.id, [bob.id])).items) == []


async def test_what_was_put_away_is_in_a_list_of_its_own(db: Database) -> None:
    ada, bob, _ = await _three(db)
    mail = db.hub.mail
    old = await mail.send(ada.id, to=[bob.id], body="b")
    new = await mail.send(bob.id, to=[ada.id], body="b")

    await mail.archive(ada.id, [old.id])

    assert _ids((await mail.both(ada.id)).items) == [new.id]
    assert _ids((await mail.both(ada.id, archived=True)).items) == [old.id]
    assert _ids((await mail.sent(ada.id)).items) == []
    assert _ids((await mail.sent(ada.id, archived=True)).items) == [old.id]
    assert _ids((await mail.received(ada.id, archived=True)).items) == []
    assert _ids((await mail.with_users(ada.id, [bob.id])).items) == [new.id]
    assert _ids((await mail.with_users(ada.id, [bob.id], archived=True)).items) == [old.id]


async def test_a_message_is_found_by_those_it_is_from_or_to_and_not_marked_by_that(db: Database) -> None:
    ada, bob, eve = await _three(db)
    message = await db.hub.mail.send(ada.id, to=[bob.id], subject="s", body="b")

    assert (await db.hub.mail.message(ada.id, message.id)).is_unread is False
    assert (await db.hub.mail.message(bob.id, message.id)).body == "b"
    assert (await db.hub.mail.message(bob.id, message.id)).is_unread is True
    with pytest.raises(NotFound, match=f"user {eve.id} has no message {message.id}"):
        await db.hub.mail.message(eve.id, message.id)
    with pytest.raises(NotFound):
        await db.hub.mail.message(ada.id, message.id + 1)


async def test_scenario_33_unread_messages_behind_one_come_oldest_first_with_bodies(db: Database) -> None:
    ada, bob, _ = await _three(db)
    mail = db.hub.mail
    five = await mail.send(ada.id, to=[bob.id], body="five")
    read = await mail.send(ada.id, to=[bob.id], body="read")
    nine = await mail.send(ada.id, to=[bob.id], body="nine")
    line = await mail.send(ada.id, to=[bob.id], body="line", kind="chat")
    twelve = await mail.send(ada.id, to=[bob.id], body="twelve")
    await mail.mark_read(bob.id, [read.id])

    letters = await mail.unread(bob.id, kind="mail", after=five.id)

    assert [(letter.id, letter.body) for letter in letters] == [(nine.id, "nine"), (twelve.id, "twelve")]
    assert _ids(await mail.unread(bob.id, after=five.id, limit=2)) == [nine.id, line.id]
    assert _ids(await mail.unread(bob.id)) == [five.id, nine.id, line.id, twelve.id]
    assert await mail.unread(ada.id) == []


async def test_unread_messages_are_counted_by_kind(db: Database) -> None:
    ada, bob, _ = await _three(db)
    mail = db.hub.mail
    await mail.send(ada.id, to=[bob.id], body="b")
    read = await mail.send(ada.id, to=[bob.id], body="b")
    away = await mail.send(ada.id, to=[bob.id], body="b", kind="chat")
    for _ in range(3):
        await mail.send(ada.id, to=[bob.id], body="b", kind="chat")
    await mail.mark_read(bob.id, [read.id])
    await mail.archive(bob.id, [away.id])

    counts = await mail.unread_counts(bob.id)

    assert (counts.mail, counts.chat) == (1, 3)
    assert await mail.unread_counts(ada.id) == type(counts)(0, 0)


async def test_scenario_31_a_search_is_among_ones_own_mail_and_its_signs_are_literal(db: Database) -> None:
    ada, bob, eve = await _three(db)
    mail = db.hub.mail
    theirs = await mail.send(ada.id, to=[bob.id], subject="budget", body="100% of it_all!")
    await mail.send(eve.id, to=[eve.id], subject="other", body="100 percent of itXall")

    assert (await mail.search(eve.id, "budget")).items == []
    for user in (ada, bob):
        for terms in ("budget", "100% of", "it_all", "all!", "0% o"):
            assert _ids((await mail.search(user.id, terms)).items) == [theirs.id]
    for terms in ("1%t", "it_a", "%", "_", "!"):
        assert (await mail.search(eve.id, terms)).items == []


CASES: list[tuple[str, str]] = [
    ("Straße", "STRASSE"),
    ("ÉCOLE", "école"),
    ("e\u0301cole", "ÉCOLE"),
    ("ΌΣΟΣ", "όσος"),
    ("HELLO", "hello"),
]


async def test_a_search_takes_no_notice_of_case(db: Database, subtests: pytest.Subtests) -> None:
    for written, sought in CASES:
        with subtests.test(written=written, sought=sought):
            ada, bob = await make_user(db), await make_user(db)
            message = await db.hub.mail.send(ada.id, to=[bob.id], subject="s", body=f"to the {written} now")

            assert _ids((await db.hub.mail.search(bob.id, sought)).items) == [message.id]


async def test_a_search_is_in_subjects_alone_or_in_what_was_put_away_when_asked(db: Database) -> None:
    ada, bob, _ = await _three(db)
    mail = db.hub.mail
    titled = await mail.send(ada.id, to=[bob.id], subject="Rose", body="x")
    inside = await mail.send(ada.id, to=[bob.id], subject="x", body="a rose")
    away = await mail.send(ada.id, to=[bob.id], subject="rose", body="x", kind="chat")
    await mail.archive(bob.id, [away.id])

    assert _ids((await mail.search(bob.id, "rose")).items) == [inside.id, titled.id]
    assert _ids((await mail.search(bob.id, "rose", subject_only=True)).items) == [titled.id]
    found = await mail.search(bob.id, "rose", include_archived=True, limit=2)
    rest = await mail.search(bob.id, "rose", include_archived=True, limit=2, after=found.next)
    assert _ids(found.items + rest.items) == [away.id, inside.id, titled.id]
    wrong: list[Any] = ["", "  ", "x" * 1_001, 7, None]
    for nothing in wrong:
        with pytest.raises(BadInput):
            await mail.search(bob.id, nothing)
