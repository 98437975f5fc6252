"""Reading and putting away: each user for themselves; and whom unread mail wakes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import NotFound
from agentdb.models import MailRecipient, User
from agentdb.repository import Repository
from agentdb.testing.factories import make_user

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Recipients(Repository[MailRecipient]):
    model = MailRecipient


async def _three(db: Database) -> tuple[User, User, User]:
    return await make_user(db), await make_user(db), await make_user(db)


async def _sent(db: Database, sender: User, *to: User, times: int = 1) -> list[int]:
    ids = [user.id for user in to]
    return [(await db.hub.mail.send(sender.id, to=ids, body="b")).id for _ in range(times)]


async def _row(db: Database, user: User, message_id: int) -> MailRecipient:
    rows = Recipients(db._over)
    [row] = (await rows.page(user_id=user.id, message_id=message_id)).items
    return row


async def test_scenario_29_the_first_time_of_reading_is_kept(db: Database) -> None:
    ada, bob, _ = await _three(db)
    [message] = await _sent(db, ada, bob)

    with clock.hold(NOON) as hand:
        first = await db.hub.mail.mark_read(bob.id, [message])
        read_at = (await _row(db, bob, message)).read_at
        hand.forward(timedelta(minutes=1))
        again = await db.hub.mail.mark_read(bob.id, [message])

    assert (first, again) == ([message], [])
    assert read_at == (await _row(db, bob, message)).read_at == NOON


async def test_only_ones_own_unread_messages_are_marked(db: Database) -> None:
    ada, bob, eve = await _three(db)
    first, second = await _sent(db, ada, bob, eve, times=2)
    [strange] = await _sent(db, ada, eve)

    assert await db.hub.mail.mark_read(bob.id, [second, strange, first, 999]) == [first, second]
    assert await db.hub.mail.mark_read(ada.id, [first]) == []

    assert [letter.id for letter in await db.hub.mail.unread(eve.id)] == [first, second, strange]
    assert await db.hub.mail.mark_read(bob.id, []) == []


async def test_a_sender_sees_who_has_read_and_nobody_else_does(db: Database) -> None:
    ada, bob, eve = await _three(db)
    [message] = await _sent(db, ada, bob, eve)
    await db.hub.mail.mark_read(eve.id, [message])

    readers = await db.hub.mail.read_by(ada.id, message)

    assert [(reader.user_id, reader.username) for reader in readers] == [(eve.id, eve.username)]
    assert readers[0].read_at == (await _row(db, eve, message)).read_at
    for stranger in (bob, eve):
        with pytest.raises(NotFound):
            await db.hub.mail.read_by(stranger.id, message)
    shown_to_bob = (await db.hub.mail.message(bob.id, message)).recipients
    shown_to_ada = (await db.hub.mail.message(ada.id, message)).recipients
    assert [one.read_at is not None for one in shown_to_bob] == [False, False]
    assert [one.read_at is not None for one in shown_to_ada] == [False, True]


async def test_scenario_30_a_message_put_away_by_one_stays_with_the_others(db: Database) -> None:
    ada, bob, eve = await _three(db)
    [message] = await _sent(db, ada, bob, eve)

    assert await db.hub.mail.archive(bob.id, [message]) == [message]

    assert (await db.hub.mail.received(bob.id)).items == []
    assert await db.hub.mail.unread(bob.id) == []
    assert [row.id for row in (await db.hub.mail.received(eve.id)).items] == [message]
    assert [row.id for row in (await db.hub.mail.sent(ada.id)).items] == [message]
    assert (await _row(db, bob, message)).read_at is None


async def test_messages_are_put_away_all_or_none(db: Database) -> None:
    ada, bob, eve = await _three(db)
    first, second = await _sent(db, ada, bob, times=2)
    [strange] = await _sent(db, ada, eve)

    with pytest.raises(NotFound, match=rf"user {bob.id} has no message {strange}, 999; nothing was archived"):
        await db.hub.mail.archive(bob.id, [first, 999, strange, second])

    assert [row.id for row in (await db.hub.mail.received(bob.id)).items] == [second, first]
    assert [row.id for row in (await db.hub.mail.received(eve.id)).items] == [strange]


async def test_the_first_time_of_putting_away_is_kept_until_it_is_taken_out(db: Database) -> None:
    ada, bob, _ = await _three(db)
    first, second = await _sent(db, ada, bob, times=2)

    with clock.hold(NOON) as hand:
        await db.hub.mail.archive(bob.id, [first])
        before = (await _row(db, bob, first)).archived_at
        hand.forward(timedelta(minutes=1))
        assert await db.hub.mail.archive(bob.id, [first, second]) == [second]

    assert (await _row(db, bob, first)).archived_at == before
    assert await db.hub.mail.unarchive(bob.id, [first]) == [first]
    assert await db.hub.mail.unarchive(bob.id, [first]) == []
    assert [row.id for row in (await db.hub.mail.received(bob.id)).items] == [first]
    with pytest.raises(NotFound, match="nothing was unarchived"):
        await db.hub.mail.unarchive(bob.id, [second, 999])
    assert (await _row(db, bob, second)).archived_at is not None


async def test_all_of_a_kind_is_put_away_at_once_and_counted(db: Database) -> None:
    ada, bob, _ = await _three(db)
    await _sent(db, ada, bob, times=2)
    await _sent(db, bob, ada)
    line = await db.hub.mail.send(ada.id, to=[bob.id], body="b", kind="chat")

    assert await db.hub.mail.archive_all(bob.id, "mail") == 3
    assert await db.hub.mail.archive_all(bob.id, "mail") == 0

    assert [row.id for row in (await db.hub.mail.both(bob.id)).items] == [line.id]
    assert len((await db.hub.mail.both(ada.id)).items) == 4


async def test_unread_messages_wake_their_active_recipients_once_each(db: Database) -> None:
    ada, bob, eve = await _three(db)
    agent = await make_user(db, kind="agent")
    await _sent(db, ada, bob, eve, agent, times=2)

    assert await db.hub.mail.to_wake() == [bob.id, eve.id, agent.id]
    assert await db.hub.mail.to_wake(limit=1, after=bob.id) == [eve.id]
    assert await db.hub.mail.to_wake(kind="agent") == [agent.id]


async def test_scenario_35_a_message_that_was_put_away_unread_wakes_nobody(db: Database) -> None:
    ada, bob, eve = await _three(db)
    [message] = await _sent(db, ada, bob, eve)

    await db.hub.mail.archive(bob.id, [message])
    await db.hub.mail.mark_read(eve.id, [message])

    assert await db.hub.mail.to_wake() == []


async def test_scenario_36_neither_the_disabled_nor_the_archived_nor_the_sender_is_woken(db: Database) -> None:
    ada = await make_user(db)
    disabled, archived = await make_user(db, status="disabled"), await make_user(db, status="archived")
    [message] = await _sent(db, ada, disabled, archived)
    own = await _row(db, ada, message)
    await Recipients(db._over).update(own.id, read_at=None)  # as another program might have left it

    assert await db.hub.mail.to_wake() == []

    await db.supervisor.users.enable(disabled.id)
    assert await db.hub.mail.to_wake() == [disabled.id]
