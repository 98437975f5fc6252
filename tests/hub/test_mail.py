"""Sending mail and chat: whole or not at all, to whom it may concern, with pointers that only move forward."""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference
from agentdb.models import Attachment, MailMessage, MailRecipient, User, UserNotification
from agentdb.repository import Repository
from agentdb.testing.factories import make_host, make_user

FAR = 10**9
_numbers = count(1)


class Notifications(Repository[UserNotification]):
    model = UserNotification


class Attachments(Repository[Attachment]):
    model = Attachment


class Recipients(Repository[MailRecipient]):
    model = MailRecipient


async def _file(db: Database, uploader: User, **details: Any) -> Attachment:
    number = next(_numbers)
    values: dict[str, Any] = {
        "public_id": f"{number:022d}",
        "filename": "plan.pdf",
        "media_type": "application/pdf",
        "file_size": 5,
        "file_hash": "0" * 64,
        "purpose": "mail",
        "storage_key": "00/00",
        "uploaded_by": uploader.id,
    }
    return await Attachments(db._over).add(**{**values, **details})


async def _rows(db: Database, message: MailMessage) -> dict[int, MailRecipient]:
    return {row.user_id: row async for row in Recipients(db._over).stream(message_id=message.id)}


async def _pointers(db: Database, user: User) -> tuple[int, int]:
    row = await Notifications(db._over).find(user.id)
    return (row.latest_mail_id, row.latest_chat_id) if row else (0, 0)


async def _three(db: Database) -> tuple[User, User, User]:
    return await make_user(db), await make_user(db), await make_user(db)


async def test_scenario_24_a_letter_with_a_file_arrives_and_the_sender_keeps_a_read_row(db: Database) -> None:
    ada, bob = await make_user(db, username="ada"), await make_user(db)
    file = await _file(db, ada, filename="plan.pdf", file_size=5)

    sent = await db.hub.mail.send(ada.id, to=[bob.id], subject="plan", body="see there", attachment_ids=[file.id])

    arrived = await db.hub.mail.message(bob.id, sent.id)
    assert (arrived.subject, arrived.body, arrived.sender_id, arrived.sent_as) == ("plan", "see there", ada.id, "ada")
    assert [(one.public_id, one.filename, one.file_size) for one in arrived.attachments] == [
        (file.public_id, "plan.pdf", 5)
    ]
    rows = await _rows(db, sent)
    assert {user_id: (str(row.type), row.read_at) for user_id, row in rows.items()} == {
        bob.id: ("to", None),
        ada.id: ("from", sent.created_at),
    }


async def test_scenario_25_a_missing_attachment_leaves_nothing_behind(db: Database) -> None:
    ada, bob, eve = await _three(db)
    own, strange = await _file(db, ada), await _file(db, eve)

    with pytest.raises(MissingReference, match=rf"no attachment {strange.id}, 999;"):
        await db.hub.mail.send(ada.id, to=[bob.id], body="b", attachment_ids=[own.id, strange.id, 999])

    assert await db.hub.mail.count() == await Recipients(db._over).count() == 0
    assert await Notifications(db._over).count() == 0


async def test_a_file_that_was_uploaded_for_something_else_does_not_go_with_mail(db: Database) -> None:
    ada, bob, _ = await _three(db)
    context = await _file(db, ada, purpose="context")

    with pytest.raises(BadInput, match=rf"attachment {context.id} was not uploaded for mail"):
        await db.hub.mail.send(ada.id, to=[bob.id], body="b", attachment_ids=[context.id])

    assert await db.hub.mail.count() == 0


async def test_scenario_26_a_sender_among_the_recipients_has_one_row_and_it_is_unread(db: Database) -> None:
    ada, bob, _ = await _three(db)

    message = await db.hub.mail.send(ada.id, to=[bob.id, ada.id], body="b")

    rows = await _rows(db, message)
    assert len(rows) == 2
    assert (str(rows[ada.id].type), rows[ada.id].read_at) == ("to", None)


async def test_scenario_27_a_conversation_has_one_key_whoever_of_it_sends(db: Database) -> None:
    users = [await make_user(db, username=name) for name in ("bob", "Alice", "carol")]
    ids = [user.id for user in users]

    sent = [
        await db.hub.mail.send(sender, to=[other for other in ids if other != sender], body="b", kind="chat")
        for sender in ids
    ]

    key = ",".join(map(str, sorted(ids)))
    assert {(message.participants, message.participants_digest) for message in sent} == {
        (key, sha256(key.encode()).hexdigest())
    }


async def test_the_ids_of_a_key_are_sorted_as_numbers_and_leave_blind_copies_out(db: Database) -> None:
    users = [await make_user(db) for _ in range(12)]
    ids = [user.id for user in users]

    message = await db.hub.mail.send(ids[11], to=[ids[9]], cc=[ids[1]], bcc=[ids[5]], body="b")

    assert message.participants == f"{ids[1]},{ids[9]},{ids[11]}"


async def test_scenario_28_only_the_recipients_pointer_of_the_kind_moves(db: Database) -> None:
    ada, bob, eve = await _three(db)

    letter = await db.hub.mail.send(ada.id, to=[bob.id], cc=[eve.id], body="b")
    line = await db.hub.mail.send(ada.id, to=[bob.id], body="b", kind="chat")

    assert await _pointers(db, bob) == (letter.id, line.id)
    assert await _pointers(db, eve) == (letter.id, 0)
    assert await _pointers(db, ada) == (0, 0)


async def test_a_pointer_that_is_ahead_stays_where_it_is(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await db.hub.mail.send(ada.id, to=[bob.id], body="b")
    await Notifications(db._over).update(bob.id, latest_mail_id=FAR)

    await db.hub.mail.send(ada.id, to=[bob.id], body="b")

    assert await _pointers(db, bob) == (FAR, 0)


async def test_a_message_makes_its_recipients_row_new_to_followers(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await db.hub.mail.send(ada.id, to=[bob.id], body="b")
    before = await Notifications(db._over).get(bob.id)

    await db.hub.mail.send(ada.id, to=[bob.id], body="b")

    after = await Notifications(db._over).get(bob.id)
    assert after.updated_at >= before.updated_at
    assert after.tx > before.tx or (after.tx, before.tx) == (0, 0)  # SQLite's is always 0


async def test_what_cannot_be_sent_is_refused_by_name(db: Database) -> None:
    ada, bob, eve = await _three(db)

    with pytest.raises(BadInput, match="nobody to send to"):
        await db.hub.mail.send(ada.id, body="b")
    with pytest.raises(BadInput, match=rf"recipient {bob.id} named more than once"):
        await db.hub.mail.send(ada.id, to=[bob.id, eve.id], bcc=[bob.id], body="b")
    with pytest.raises(BadInput, match="attachment 7 named more than once"):
        await db.hub.mail.send(ada.id, to=[bob.id], body="b", attachment_ids=[7, 7])
    with pytest.raises(BadInput, match="at most 1,000 recipients, not 1,001"):
        await db.hub.mail.send(ada.id, to=range(1, 1002), body="b")
    with pytest.raises(BadInput, match="'letter' is not a kind of message"):
        await db.hub.mail.send(ada.id, to=[bob.id], body="b", kind="letter")
    with pytest.raises(MissingReference, match=rf"there is no user {FAR}, {FAR + 1};"):
        await db.hub.mail.send(ada.id, to=[FAR + 1, bob.id, FAR], body="b")
    with pytest.raises(MissingReference, match=rf"there is no user {FAR};"):
        await db.hub.mail.send(FAR, to=[bob.id], body="b")
    with pytest.raises(MissingReference, match="hosts"):
        await db.hub.mail.send(ada.id, to=[bob.id], body="b", host_id=FAR)

    assert await db.hub.mail.count() == await Notifications(db._over).count() == 0


async def test_a_thousand_recipients_have_a_row_each(db: Database) -> None:
    ada = await make_user(db)
    await db.supervisor.users.add_many({"username": f"crowd-{number}"} for number in range(1_000))
    crowd = [user.id async for user in db.supervisor.users.stream(id__ne=ada.id)]

    message = await db.hub.mail.send(ada.id, to=crowd[:400], cc=crowd[400:], body="b")

    assert await Recipients(db._over).count(message_id=message.id) == 1_001
    assert await Notifications(db._over).count(latest_mail_id=message.id) == 1_000


async def test_what_is_stored_went_through_the_redaction(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await db.hub.variables.save("KEY", "s3cret", sensitive=True)

    message = await db.hub.mail.send(ada.id, to=[bob.id], subject="my s3cret", body="it is s3cret")

    stored = await db.hub.mail.get(message.id)
    assert (stored.subject, stored.body) == ("my [REDACTED:KEY]", "it is [REDACTED:KEY]")
    assert "s3cret" not in stored.subject_folded + stored.body_folded
    assert (await db.hub.mail.search(bob.id, "s3cret")).items == []


async def test_a_message_tells_the_host_it_came_from_and_keeps_the_senders_name(db: Database) -> None:
    ada, bob = await make_user(db, username="ada"), await make_user(db)
    host = await make_host(db)
    message = await db.hub.mail.send(ada.id, to=[bob.id], body="b", host_id=host.id)

    await db.supervisor.users.update(ada.id, username="ada2")

    letter = await db.hub.mail.message(bob.id, message.id)
    assert (await db.hub.mail.get(message.id)).host_id == host.id
    assert (letter.sender_name, letter.sent_as) == ("ada2", "ada")


async def test_mail_of_a_user_who_is_gone_stays_with_its_recipients(db: Database) -> None:
    ada, bob = await make_user(db, username="ada"), await make_user(db)
    message = await db.hub.mail.send(ada.id, to=[bob.id], body="b")

    await db.supervisor.users.remove(ada.id)

    [letter] = (await db.hub.mail.received(bob.id)).items
    assert (letter.id, letter.sender_id, letter.sender_name, letter.sent_as) == (message.id, None, None, "ada")


async def test_messages_that_are_sent_in_a_unit_go_with_it(db: Database) -> None:
    ada, bob, _ = await _three(db)

    async def change_its_mind() -> None:
        async with db.write() as unit:
            await unit.hub.mail.send(ada.id, to=[bob.id], body="b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_its_mind()

    assert (await db.hub.mail.received(bob.id)).items == []
    assert await _pointers(db, bob) == (0, 0)


async def test_whoever_writes_a_message_by_columns_or_a_session_can_find_it(db: Database) -> None:
    common: dict[str, Any] = {"from_username": "ada", "participants": "1", "participants_digest": "d"}
    added = await db.hub.mail.add(subject="ÄPFEL", body="x", **common)
    async with db.write() as unit:
        own = MailMessage(subject="Birnen", body="SÜSS", **common)
        unit.session.add(own)
        await unit.session.flush()
    changed = await db.hub.mail.update(added.id, body="QUITTEN")

    assert (added.subject_folded, changed.body_folded) == ("äpfel", "quitten")
    assert (await db.hub.mail.get(own.id)).body_folded == "süss"
