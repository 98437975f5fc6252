"""Mail from many at once: no deadlock, nothing skipped, nothing lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdb.database import Database
from agentdb.models import MailRecipient, UserNotification
from agentdb.repository import Repository
from agentdb.testing.factories import make_user


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    """Return settings by which a deadlock is told, and not tried again."""
    return {"retry_attempts": 1}


class Notifications(Repository[UserNotification]):
    model = UserNotification


class Recipients(Repository[MailRecipient]):
    model = MailRecipient


async def test_senders_to_the_same_users_never_wait_in_a_ring_and_pointers_move_forward(db: Database) -> None:
    everybody = [(await make_user(db)).id for _ in range(20)]

    async def send(number: int) -> int:
        to = [user for user in everybody if user != everybody[number]]
        turned = to[number:] + to[:number] if number % 2 else [*reversed(to)]
        kind = ("mail", "chat")[number % 2]
        return (await db.hub.mail.send(everybody[number], to=turned, body="b", kind=kind)).id

    sent = await asyncio.gather(*(send(number) for number in range(20)))

    rows = {row.user_id: row async for row in Notifications(db._over).stream()}
    for number, user in enumerate(everybody):
        mail, chat = (max(sent[other] for other in range(kind, 20, 2) if other != number) for kind in (0, 1))
        assert (rows[user].latest_mail_id, rows[user].latest_chat_id) == (mail, chat)
    assert await Recipients(db._over).count() == 20 * 20


async def test_whoever_reads_after_a_message_misses_none_that_was_begun_before_it(db: Database) -> None:
    ada, eve, bob = [(await make_user(db)).id for _ in range(3)]

    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < 60:
            letters = await db.hub.mail.unread(bob, after=seen[-1] if seen else 0)
            seen += [letter.id for letter in letters]
            await asyncio.sleep(0)
        return seen

    async def send(sender: int) -> list[int]:
        return [(await db.hub.mail.send(sender, to=[bob], body="b")).id for _ in range(10)]

    follower = asyncio.create_task(follow())
    sent = await asyncio.gather(*(send(sender) for sender in (ada, eve) * 3))

    assert await asyncio.wait_for(follower, 20) == sorted(one for some in sent for one in some)


async def test_reading_and_putting_away_the_same_messages_at_once_are_both_done(db: Database) -> None:
    ada, bob = [(await make_user(db)).id for _ in range(2)]
    ids = [(await db.hub.mail.send(ada, to=[bob], body="b")).id for _ in range(30)]

    done = await asyncio.gather(
        *(db.hub.mail.mark_read(bob, ids[::turn]) for turn in (1, -1) * 4),
        *(db.hub.mail.archive(bob, ids[::turn]) for turn in (-1, 1) * 4),
    )

    read, archived = [one for some in done[:8] for one in some], [one for some in done[8:] for one in some]
    assert sorted(read) == sorted(archived) == ids  # each of them once
    assert await Recipients(db._over).count(user_id=bob, read_at__ne=None, archived_at__ne=None) == 30


async def test_users_who_are_renamed_meanwhile_stay_in_one_conversation(db: Database) -> None:
    ada, bob = [(await make_user(db)).id for _ in range(2)]

    async def rename() -> None:
        for number in range(10):
            await db.supervisor.users.update(bob, username=f"bob-{number}")

    async def chat(sender: int, to: int) -> None:
        for number in range(10):
            await db.hub.mail.send(sender, to=[to], body=str(number), kind="chat")

    await asyncio.gather(rename(), chat(ada, bob), chat(bob, ada))

    [row] = (await db.hub.mail.conversations(ada)).items
    assert len(await db.hub.mail.messages(ada, participants=row.participants)) == 20
    assert [one.username for one in row.others] == ["bob-9"]
