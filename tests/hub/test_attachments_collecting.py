"""Clearing away: what nothing refers to goes, rows before files; what is needed stays, whoever stores meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentdb import clock
from agentdb.database import Database
from agentdb.errors import BadInput, MissingReference, NotFound
from agentdb.hub.filing.records import Collected
from agentdb.models import Attachment, MailAttachment, User
from agentdb.repository import Repository
from agentdb.testing.factories import make_run_session, make_user


class Links(Repository[MailAttachment]):
    model = MailAttachment


NOTHING = Collected(0, 0, 0, 0, more=False)
LATER = timedelta(days=2)


def files(db: Database) -> set[str]:
    folder = db._folder.path
    there = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("database-")]
    return {str(path.relative_to(folder)) for path in there}


async def stored(db: Database, user: User, contents: bytes, **details: Any) -> Attachment:
    values: dict[str, Any] = {"filename": "a.txt", "purpose": "mail", "uploaded_by": user.id}
    return await db.hub.attachments.store(contents, **{**values, **details})


def left_behind(db: Database, name: str, contents: bytes, *, placed: datetime) -> Path:
    """Make a file as a killed process leaves it."""
    path = db._folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    os.utime(path, (placed.timestamp(), placed.timestamp()))
    return path


async def test_what_nothing_refers_to_goes_after_the_grace_period(db: Database) -> None:
    ada, bob = await make_user(db), await make_user(db)
    with clock.hold(datetime.now(UTC)) as hand:
        mailed, logged = await stored(db, ada, b"mailed"), await stored(db, ada, b"logged", purpose="context")
        twin, spare = await stored(db, ada, b"mailed"), await stored(db, ada, b"spare")
        await db.hub.mail.send(ada.id, to=[bob.id], body="b", attachment_ids=[mailed.id])
        session = await make_run_session(db)
        await db.hub.logs.append(session, [{"role": "llm", "message": "m", "attachment_id": logged.id}])

        hand.forward(timedelta(hours=24))
        assert await db.hub.attachments.collect() == NOTHING  # not older than a day
        hand.forward(timedelta(seconds=1))
        young = await stored(db, ada, b"young")
        collected = await db.hub.attachments.collect()

        assert collected == Collected(attachments=2, files=1, file_size=5, unfinished=0, more=False)
        assert files(db) == {mailed.storage_key, logged.storage_key, young.storage_key}
        assert {row.id for row in (await db.hub.attachments.uploads()).items} == {mailed.id, logged.id, young.id}
        assert await (await db.hub.attachments.open(mailed.public_id, bob.id)).read() == b"mailed"
        for gone in (twin, spare):
            with pytest.raises(NotFound):
                await db.hub.attachments.open(gone.public_id, ada.id)
        assert await db.hub.attachments.collect() == NOTHING


async def test_what_a_killed_process_leaves_goes_after_the_grace_period(db: Database) -> None:
    user = await make_user(db)
    row = await stored(db, user, b"kept")
    now = datetime.now(UTC)
    digest = "ab" * 32
    left_behind(db, f"ab/ab/{digest}", b"no row", placed=now - LATER)
    left_behind(db, "incoming/0.part", b"half", placed=now - LATER)
    young = left_behind(db, "incoming/1.part", b"half", placed=now)
    strange = left_behind(db, "ab/ab/notes.txt", b"not ours", placed=now - LATER)
    astray = left_behind(db, f"ab/cd/{digest}", b"not ours", placed=now - LATER)

    collected = await db.hub.attachments.collect()

    assert collected == Collected(attachments=0, files=1, file_size=6, unfinished=1, more=False)
    folder = db._folder.path
    assert files(db) == {row.storage_key, *(str(path.relative_to(folder)) for path in (young, strange, astray))}


async def test_a_file_that_was_placed_anew_since_it_was_found_is_left(db: Database) -> None:
    row = await stored(db, await make_user(db), b"x")
    folder, now = db._folder, datetime.now(UTC)

    assert folder.remove(row.file_hash, now - timedelta(hours=1)) is None
    assert files(db) == {row.storage_key}
    assert folder.remove(row.file_hash, now + timedelta(hours=1)) == 1
    assert folder.remove(row.file_hash, now + timedelta(hours=1)) is None


async def test_at_most_as_much_goes_as_is_asked_for(db: Database) -> None:
    user = await make_user(db)
    with clock.hold(datetime.now(UTC)) as hand:
        for number in range(25):
            await stored(db, user, f"file {number}".encode())
        for number in range(3):
            left_behind(db, f"incoming/{number}.part", b"half", placed=clock.now())
        hand.forward(LATER)

        first = await db.hub.attachments.collect(limit=20)
        second = await db.hub.attachments.collect(limit=20)

    assert (first.attachments, first.files, first.unfinished, first.more) == (20, 20, 3, True)
    assert (second.attachments, second.files, second.unfinished, second.more) == (5, 5, 0, False)
    assert files(db) == set()


NOT_MEANT: list[tuple[dict[str, Any], str]] = [({"grace_seconds": -1}, "0 seconds"), ({"limit": 0}, "from 1")]


async def test_what_cannot_be_meant_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    for details, told in NOT_MEANT:
        with subtests.test(details=details, told=told):
            with pytest.raises(BadInput, match=told):
                await db.hub.attachments.collect(**details)
            with pytest.raises(BadInput, match="grace"):
                await db.hub.attachments.collect(grace_seconds=float("nan"))


async def test_in_a_unit_nothing_is_collected(db: Database) -> None:
    row = await stored(db, await make_user(db), b"x")

    async with db.write() as unit:
        with pytest.raises(BadInput, match="not in a unit"):
            await unit.hub.attachments.collect(grace_seconds=0)

    assert files(db) == {row.storage_key}


async def test_a_file_that_an_open_unit_stores_is_left_to_it(db: Database) -> None:
    user = await make_user(db)
    await db.hub.attachments.remove((await stored(db, user, b"x")).id)  # whose file is now nobody's

    async with db.write() as unit:
        row = await unit.hub.attachments.store(b"x", filename="a", purpose="mail", uploaded_by=user.id)
        path = db._folder.path / row.storage_key
        os.utime(path, (1, 1))
        collecting = asyncio.create_task(db.hub.attachments.collect(grace_seconds=60))
        await asyncio.wait([collecting], timeout=0.5)
        assert path.exists()

    assert (await collecting).files == 0
    assert await (await db.hub.attachments.open(row.public_id, user.id)).read() == b"x"


async def test_a_file_of_a_unit_that_was_undone_is_cleared_away(db: Database) -> None:
    user = await make_user(db)
    with suppress(ZeroDivisionError):
        async with db.write() as unit:
            await unit.hub.attachments.store(b"x", filename="a", purpose="mail", uploaded_by=user.id)
            raise ZeroDivisionError
    assert len(files(db)) == 1

    with clock.hold(datetime.now(UTC) + LATER):
        assert (await db.hub.attachments.collect()).files == 1

    assert files(db) == set()


async def test_what_is_attached_meanwhile_stays_and_what_is_gone_is_not_attached(db: Database) -> None:
    ada, bob = await make_user(db), await make_user(db)
    message = await db.hub.mail.send(ada.id, to=[bob.id], body="b")

    async def attach(row: Attachment) -> bool:
        try:
            await Links(db._over).add(message_id=message.id, attachment_id=row.id)
        except MissingReference:
            return False
        return True

    for _ in range(8):
        rows = [await stored(db, ada, os.urandom(8)) for _ in range(6)]
        with clock.hold(datetime.now(UTC) + LATER):
            *attached, _ = await asyncio.gather(*map(attach, rows), db.hub.attachments.collect())

        for row, there in zip(rows, attached, strict=True):
            assert (await db.hub.attachments.find(row.id) is not None) is there
            if there:
                assert len(await (await db.hub.attachments.open(row.public_id, bob.id)).read()) == 8


async def test_an_attachment_that_an_open_unit_logs_is_left_to_it(db: Database) -> None:
    user = await make_user(db)
    row = await stored(db, user, b"x", purpose="context")
    session = await make_run_session(db, user_id=user.id)

    with clock.hold(datetime.now(UTC) + LATER):
        async with db.write() as unit:
            entry = {"role": "llm", "message": "m", "attachment_id": row.id}
            (log,) = await unit.hub.logs.append(session, [entry])
            collecting = asyncio.create_task(db.hub.attachments.collect())
            await asyncio.wait([collecting], timeout=0.5)

        assert await collecting == NOTHING
    assert (await db.hub.logs.get(log.id)).attachment_id == row.id
    assert await (await db.hub.attachments.open(row.public_id, user.id)).read() == b"x"


async def test_an_upload_whose_file_was_swept_away_meanwhile_is_stored_all_the_same(db: Database) -> None:
    user = await make_user(db)

    async def stalled() -> Any:
        yield b"x" * 300_000
        (started,) = (db._folder.path / "incoming").iterdir()
        os.utime(started, (time.time() - 200_000,) * 2)
        assert (await db.hub.attachments.collect()).unfinished == 1
        yield b"y"

    row = await stored(db, user, stalled())

    assert await (await db.hub.attachments.open(row.public_id, user.id)).read() == b"x" * 300_000 + b"y"
    assert files(db) == {row.storage_key}
