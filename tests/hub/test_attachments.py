"""Attachments: stored whole or not at all, each equal file once, and seen by those they are meant for."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from starlette.datastructures import UploadFile

import agentdb
from agentdb.database import Database
from agentdb.errors import BadInput, DatabaseCorrupt, MissingReference, NotFound, Unavailable
from agentdb.hub.filing.outgoing import OpenFile
from agentdb.hub.filing.records import UploadedBy
from agentdb.models import Attachment, User
from agentdb.repository import Repository
from agentdb.testing.factories import make_run_session, make_user

CONTENTS = b"what a file says" * 40_000  # more than one portion


class Rows(Repository[Attachment]):
    model = Attachment


def folder(db: Database) -> Path:
    return db._folder.path


def files(db: Database) -> list[str]:
    """Return all files there are, the unfinished ones too; not the one that tells whose the folder is."""
    there = [path for path in folder(db).rglob("*") if path.is_file() and not path.name.startswith("database-")]
    return sorted(str(path.relative_to(folder(db))) for path in there)


def storage_key_of(contents: bytes) -> str:
    digest = hashlib.sha256(contents).hexdigest()
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


async def stored(db: Database, user: User, contents: bytes = CONTENTS, **details: Any) -> Attachment:
    values: dict[str, Any] = {"filename": "plan.pdf", "purpose": "mail", "uploaded_by": user.id}
    return await db.hub.attachments.store(contents, **{**values, **details})


async def test_a_file_lies_where_its_hash_says_and_is_read_back(db: Database) -> None:
    user = await make_user(db)

    row = await stored(db, user)

    digest = hashlib.sha256(CONTENTS).hexdigest()
    assert (row.file_hash, row.file_size) == (digest, len(CONTENTS))
    assert (row.filename, row.media_type, row.purpose, row.uploaded_by) == (
        "plan.pdf",
        "application/pdf",
        "mail",
        user.id,
    )
    assert row.storage_key == storage_key_of(CONTENTS)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", row.public_id)
    assert files(db) == [row.storage_key]
    file = await db.hub.attachments.open(row.public_id, user.id)
    assert (file.filename, file.media_type, file.size) == ("plan.pdf", "application/pdf", len(CONTENTS))
    assert b"".join([chunk async for chunk in file]) == CONTENTS
    assert file.path.read_bytes() == CONTENTS
    assert await file.read() == CONTENTS


def _chunks() -> Iterator[bytes]:
    for first in range(0, len(CONTENTS), 10_000):
        yield CONTENTS[first : first + 10_000]


async def _later() -> AsyncIterator[bytes]:
    for chunk in _chunks():
        await asyncio.sleep(0)
        yield chunk


def _one_buffer() -> Iterator[memoryview]:
    """Yield the same memory again and again, as a reader into a buffer does."""
    buffer = bytearray(10_000)
    for chunk in _chunks():
        buffer[: len(chunk)] = chunk
        yield memoryview(buffer)[: len(chunk)]


def _asyncio_reader() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(CONTENTS)
    reader.feed_eof()
    return reader


def _aiohttp_reader() -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    reader = aiohttp.StreamReader(BaseProtocol(loop), limit=len(CONTENTS), loop=loop)
    reader.feed_data(CONTENTS)
    reader.feed_eof()
    return reader


WAYS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: CONTENTS,
    "bytearray": lambda: bytearray(CONTENTS),
    "memoryview": lambda: memoryview(CONTENTS),
    "chunks": _chunks,
    "one buffer": _one_buffer,
    "async": _later,
    "file": lambda: io.BytesIO(CONTENTS),
    "starlette": lambda: UploadFile(io.BytesIO(CONTENTS)),
    "asyncio": _asyncio_reader,
    "aiohttp": _aiohttp_reader,
}


async def test_a_file_comes_in_whichever_way_the_caller_has_it(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for way, make in WAYS.items():
        with subtests.test(way=way):
            (folder(db) / storage_key_of(CONTENTS)).unlink(missing_ok=True)  # the last round's
            told = {"file_hash": hashlib.sha256(CONTENTS).hexdigest(), "file_size": len(CONTENTS)}
            row = await stored(db, user, make(), **told)

            assert await (await db.hub.attachments.open(row.public_id, user.id)).read() == CONTENTS


async def test_each_upload_is_a_row_and_equal_contents_are_one_file(db: Database) -> None:
    ada, bob = await make_user(db), await make_user(db)

    rows = await asyncio.gather(*(stored(db, user, b"same") for user in (ada, bob) * 5))

    assert len({row.id for row in rows}) == len({row.public_id for row in rows}) == 10
    assert files(db) == [rows[0].storage_key]


NOT_AS_TOLD: list[tuple[Any, dict[str, Any], str]] = [
    (b"", {}, "is empty"),
    ([b"", b""], {}, "is empty"),
    (b"12345", {"most_bytes": 4}, "larger than 4 bytes"),
    ([b"123", b"45"], {"most_bytes": 4}, "larger than 4 bytes"),
    (b"x" * (10 * 1024 * 1024 + 1), {}, "larger than 10,485,760 bytes"),
    (b"12345", {"file_size": 4}, "5 bytes, not the 4"),
    (b"12345", {"file_size": 5, "most_bytes": 4}, "larger than 4"),
    (b"12345", {"file_hash": "0" * 64}, "SHA-256 is not the one"),
    ("text", {}, "not as str"),
    (["text"], {}, "not str; encode"),
    (7, {}, "not as int"),
    (b"12345", {"purpose": "fun"}, "mail or context"),
    (b"12345", {"filename": ""}, "1 to 255"),
    (b"12345", {"filename": "x" * 256}, "1 to 255"),
    (b"12345", {"filename": "a\r\nb"}, "control characters"),
    (b"12345", {"filename": "a\u2028b"}, "control characters"),
    (b"12345", {"media_type": "text/html\r\nX: y"}, "type/subtype"),
    (b"12345", {"media_type": "pdf"}, "type/subtype"),
]


async def test_what_is_not_as_told_is_refused_and_nothing_is_kept(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for contents, details, told in NOT_AS_TOLD:
        with subtests.test(told=told, details=details):
            with pytest.raises(BadInput, match=told):
                await stored(db, user, contents, **details)

            assert files(db) == []
            assert await db.hub.attachments.count() == 0


async def test_what_is_too_large_is_refused_before_all_of_it_has_come(db: Database) -> None:
    user, asked = await make_user(db), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 1_000

    with pytest.raises(BadInput, match="larger"):
        await stored(db, user, endless(), most_bytes=5_000)  # type: ignore[arg-type]

    assert asked == 6
    assert files(db) == []


async def test_the_largest_file_that_may_come_comes(db: Database) -> None:
    user = await make_user(db)

    assert (await stored(db, user, b"1234", most_bytes=4)).file_size == 4


async def test_a_stream_that_breaks_leaves_nothing_and_tells_its_own_error(db: Database) -> None:
    user = await make_user(db)

    async def broken() -> AsyncIterator[bytes]:
        yield CONTENTS
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError, match="went away"):
        await stored(db, user, broken())  # type: ignore[arg-type]

    assert files(db) == []


async def test_a_cancelled_upload_leaves_nothing_half_done(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    async def slow(portions: int, reached: asyncio.Event) -> AsyncIterator[bytes]:
        for _ in range(portions):
            yield CONTENTS
        reached.set()
        await asyncio.Event().wait()
        yield b""

    for portions in (0, 1, 3, 10):
        with subtests.test(portions=portions):
            reached = asyncio.Event()
            storing = asyncio.create_task(stored(db, user, slow(portions, reached)))  # type: ignore[arg-type]
            await reached.wait()
            storing.cancel()
            with suppress(asyncio.CancelledError):
                await storing

            assert files(db) == []
            assert await db.hub.attachments.count() == 0


async def test_an_unknown_uploader_is_refused(db: Database) -> None:
    with pytest.raises(MissingReference, match="uploaded_by"):
        await db.hub.attachments.store(b"x", filename="a", purpose="mail", uploaded_by=10**9)


ENDINGS: list[tuple[str, str]] = [
    ("a.PNG", "image/png"),
    ("notes.txt", "text/plain"),
    ("backup.tar.gz", "application/gzip"),
    ("nothing", "application/octet-stream"),
    ("data:text/html,x.png", "image/png"),
]


async def test_the_ending_tells_the_kind_unless_the_sender_does(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for filename, told in ENDINGS:
        with subtests.test(filename=filename):
            assert (await stored(db, user, b"x", filename=filename)).media_type == told
            assert (
                await stored(db, user, b"x", filename=filename, media_type="text/x; a=b")
            ).media_type == "text/x; a=b"


PATHS: list[str] = [
    "../../etc/passwd",
    "/etc/passwd",
    "..\\up",
    "a/../../../b",
    "~/x",
    "é 文.pdf",
    "at 1.00\u202fPM.png",
]


async def test_a_filename_is_kept_and_never_a_path(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for filename in PATHS:
        with subtests.test(filename=filename):
            row = await stored(db, user, b"x", filename=filename)

            assert files(db) == [row.storage_key]
            assert (await db.hub.attachments.open(row.public_id, user.id)).filename == filename


KEYS_ELSEWHERE: list[str] = [
    "../../etc/passwd",
    "/etc/passwd",
    "aa/bb/" + "c" * 64,
    "",
    "00/00/" + "0" * 64 + "/..",
    "00/00/0\n",
]


async def test_a_storage_key_that_could_lead_elsewhere_is_refused(db: Database, subtests: pytest.Subtests) -> None:
    user = await make_user(db)

    for storage_key in KEYS_ELSEWHERE:
        with subtests.test(storage_key=storage_key):
            row = await stored(db, user)
            await Rows(db._over).update(row.id, storage_key=storage_key)

            with pytest.raises(DatabaseCorrupt, match=row.public_id):
                await db.hub.attachments.open(row.public_id, user.id)


async def test_who_may_see_a_file(db: Database) -> None:
    ada, to, cc, bcc, other, owner = [await make_user(db) for _ in range(6)]
    letter, log = await stored(db, ada), await stored(db, ada, purpose="context")
    session = await make_run_session(db, user_id=owner.id)
    await db.hub.logs.append(session, [{"role": "llm", "message": "see", "attachment_id": log.id}])

    async def readers(file: Attachment) -> set[int]:
        seen = set()
        for user in (ada, to, cc, bcc, other, owner):
            with suppress(NotFound):
                opened = await db.hub.attachments.open(file.public_id, user.id)
                assert await opened.read() == CONTENTS
                seen.add(user.id)
            with suppress(NotFound):
                assert (await db.hub.attachments.describe(file.public_id, user.id)).id == file.id
                assert user.id in seen
        return seen

    assert await readers(letter) == {ada.id}
    await db.hub.mail.send(ada.id, to=[to.id], cc=[cc.id], bcc=[bcc.id], body="b", attachment_ids=[letter.id])
    assert await readers(letter) == {ada.id, to.id, cc.id, bcc.id}
    assert await readers(log) == {ada.id, owner.id}
    await Rows(db._over).update(letter.id, uploaded_by=None)
    assert await readers(letter) == {ada.id, to.id, cc.id, bcc.id}  # she sent it
    await Rows(db._over).update(log.id, uploaded_by=None)
    assert await readers(log) == {owner.id}


async def test_who_may_not_see_a_file_is_told_what_one_is_told_who_asks_for_none(db: Database) -> None:
    ada, bob = await make_user(db), await make_user(db)
    row = await stored(db, ada)

    for public_id in (row.public_id, "x" * 22, row.public_id[:-1], row.public_id.swapcase(), ""):
        for call in (db.hub.attachments.open, db.hub.attachments.describe):
            with pytest.raises(NotFound) as told:
                await call(public_id, bob.id)
            assert str(told.value) == f"user {bob.id} has no attachment {public_id!r}"


async def _lengths(file: OpenFile, seen: list[int]) -> None:
    async for chunk in file.chunks(size=1_000, verify=True):
        seen[0] += len(chunk)


async def test_a_missing_or_altered_file_is_told(db: Database) -> None:
    user = await make_user(db)
    row = await stored(db, user)
    path = folder(db) / row.storage_key
    file = await db.hub.attachments.open(row.public_id, user.id)

    path.write_bytes(CONTENTS[:-1] + b"!")
    assert len(b"".join([chunk async for chunk in file])) == len(CONTENTS)
    seen = [0]
    with pytest.raises(DatabaseCorrupt, match=row.public_id):
        await _lengths(file, seen)
    assert seen == [len(CONTENTS) - 1_000]  # nobody takes it for the whole file
    path.write_bytes(b"short")
    with pytest.raises(DatabaseCorrupt, match=row.public_id):
        await db.hub.attachments.open(row.public_id, user.id)
    with pytest.raises(DatabaseCorrupt, match=row.public_id):
        await file.read()
    path.unlink()
    with pytest.raises(NotFound, match=f"{row.public_id} is missing"):
        await db.hub.attachments.open(row.public_id, user.id)
    with pytest.raises(NotFound, match=f"{row.public_id} is missing"):
        await file.read()
    await stored(db, user)  # the same contents heal it
    assert await file.read() == CONTENTS


async def test_an_altered_file_is_replaced_by_the_same_contents_stored_again(db: Database) -> None:
    user = await make_user(db)
    row = await stored(db, user)
    (folder(db) / row.storage_key).write_bytes(b"cut off")

    again = await stored(db, user)

    assert again.storage_key == row.storage_key
    assert await (await db.hub.attachments.open(row.public_id, user.id)).read() == CONTENTS


async def test_uploads_are_listed_newest_first_and_their_sizes_summed(db: Database) -> None:
    ada, bob = await make_user(db, username="ada"), await make_user(db)
    mine = [await stored(db, ada, b"x" * size) for size in (1, 2, 3)]
    his = await stored(db, bob, b"x" * 10)

    first = await db.hub.attachments.uploads(ada.id, limit=2)
    second = await db.hub.attachments.uploads(ada.id, limit=2, after=first.next)
    everybodys = await db.hub.attachments.uploads()

    assert [row.id for row in first.items + second.items] == [row.id for row in reversed(mine)]
    assert second.next is None
    assert [row.id for row in everybodys.items] == [his.id, *(row.id for row in reversed(mine))]
    assert (first.items[0].uploader_name, first.items[0].file_size) == ("ada", 3)
    assert await db.hub.attachments.describe(mine[2].public_id, ada.id) == first.items[0]
    with pytest.raises(BadInput, match="another list"):
        await db.hub.attachments.uploads(bob.id, after=first.next)
    assert await db.hub.attachments.usage() == [UploadedBy(bob.id, 1, 10), UploadedBy(ada.id, 3, 6)]


async def test_deleting_a_user_leaves_what_was_uploaded(db: Database) -> None:
    user = await make_user(db)
    row = await stored(db, user)

    await db.supervisor.users.remove(user.id)

    assert (await db.hub.attachments.get(row.id)).uploaded_by is None
    (listed,) = (await db.hub.attachments.uploads()).items
    assert (listed.uploaded_by, listed.uploader_name) == (None, None)


async def test_rows_are_added_by_storing_alone(db: Database) -> None:
    attachments = db.hub.attachments

    for call in (attachments.add(filename="a"), attachments.add_many([]), attachments.update(1), attachments.upsert()):
        with pytest.raises(BadInput, match=re.escape("attachments.store")):
            await call


async def test_in_a_unit_a_file_counts_with_the_unit(db: Database) -> None:
    ada, bob = await make_user(db), await make_user(db)

    async with db.write() as unit:
        row = await unit.hub.attachments.store(b"x", filename="a.txt", purpose="mail", uploaded_by=ada.id)
        await unit.hub.mail.send(ada.id, to=[bob.id], body="b", attachment_ids=[row.id])
        assert await (await unit.hub.attachments.open(row.public_id, bob.id)).read() == b"x"
    with suppress(ZeroDivisionError):
        async with db.write() as unit:
            undone = await unit.hub.attachments.store(b"y", filename="a.txt", purpose="mail", uploaded_by=ada.id)
            raise ZeroDivisionError

    assert await db.hub.attachments.find(undone.id) is None
    assert await (await db.hub.attachments.open(row.public_id, bob.id)).read() == b"x"


async def test_a_folder_that_cannot_be_written_is_told(migrated_url: str, tmp_path: Path) -> None:
    (tmp_path / "attachments").write_text("a file, where a folder should be")

    async with agentdb.connect(migrated_url, folder=tmp_path) as db:
        user = await make_user(db)
        with pytest.raises(Unavailable, match="AGENTDB_FOLDER"):
            await stored(db, user)


async def test_the_files_of_a_database_in_memory_go_with_it(agentdb_template: Path) -> None:
    async with Database(agentdb.Settings.load("sqlite://"), template=agentdb_template) as db:
        await stored(db, await make_user(db))
        path = folder(db)
        assert path.is_dir()

    assert not path.exists()


async def test_the_files_of_a_database_stay_and_are_their_owners_alone(migrated_url: str, tmp_path: Path) -> None:
    async with agentdb.connect(migrated_url, folder=tmp_path / "data") as db:
        user = await make_user(db)
        row = await stored(db, user)
    async with agentdb.connect(migrated_url, folder=tmp_path / "data") as db:
        file = await db.hub.attachments.open(row.public_id, user.id)

        assert await file.read() == CONTENTS
        assert file.path == tmp_path / "data" / "attachments" / row.storage_key
        assert {path.stat().st_mode & 0o077 for path in [file.path, *file.path.parents[:4]]} == {0}


def test_nothing_of_a_file_is_shown_in_a_repr(tmp_path: Path) -> None:
    file = OpenFile("p" * 22, "salary of ada.pdf", "application/pdf", 5, tmp_path, "0" * 64)

    assert repr(file) == f"OpenFile('{'p' * 22}', size=5)"
