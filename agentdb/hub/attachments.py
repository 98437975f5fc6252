"""Attachments: files beside the database, each equal file once, and never a row without its file."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NoReturn

from agentdb.engine.asked import is_number, is_text, whole_number
from agentdb.engine.connection import Connection
from agentdb.errors import BadInput, NotFound, SchemaMismatch, Unavailable, brief
from agentdb.hub.filing.folder import Folder, in_thread, key_of, unusable
from agentdb.hub.filing.incoming import Incoming, Source, received
from agentdb.hub.filing.keeping import IDENTITY, IN_ROWS, NEXT, kept, unreferred, unused
from agentdb.hub.filing.kinds import media_type_of, named
from agentdb.hub.filing.lists import DESCRIBE, OPEN, USAGE, attachments, uploads_plan
from agentdb.hub.filing.outgoing import OpenFile, altered, gone
from agentdb.hub.filing.records import Collected, Upload, UploadedBy
from agentdb.hub.models.mail import Attachment, AttachmentPurpose
from agentdb.page import Page, values_of
from agentdb.repository import MOST, Repository, capped, page_of

MOST_BYTES: Final = 10 * 1024 * 1024
GRACE_SECONDS: Final = 86_400.0

# Between placing a file and adding its row it is cleared away only if the grace period is over in that moment.
_PLACINGS: Final = 20
_ROWS_AT_ONCE: Final = 500
_FILES_AT_ONCE: Final = 16  # removed in one transaction: it is short, and so is what the event loop waits
_STORE_INSTEAD: Final = "an attachment has a file, which never changes; use attachments.store"


class Attachments(Repository[Attachment]):
    """The files that go with mail and with what runs log.

    They lie in ``attachments`` below `Settings.folder`, which belongs to one database alone, and says to which; with a
    database in memory in a temporary folder. Where several machines use one database, all of them must share this
    folder.

    Args:
        connection: the database itself, each call its own transaction, or an open unit.
        most: the cap on every limit.
        folder: where the files lie; None: a temporary folder.
        in_unit: whether the connection is an open unit.
    """

    model = Attachment

    def __init__(
        self, connection: Connection, *, most: int = MOST, folder: Folder | None = None, in_unit: bool = False
    ) -> None:
        super().__init__(connection, most=most)
        self._folder = Folder(None) if folder is None else folder
        self._in_unit = in_unit

    async def store(
        self,
        stream: Source,
        *,
        filename: str,
        uploaded_by: int,
        purpose: AttachmentPurpose | str,
        media_type: str | None = None,
        file_hash: str | None = None,
        file_size: int | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Attachment:
        """Store a file, and return its row; the file is on the disk before the row is added.

        In a unit the transaction stays open while the file comes in: store it before, and attach it in the unit. What
        is stored and then attached to nothing goes with `collect`.

        Args:
            stream: bytes, an iterable of bytes, async or not, or a reader, such as an upload of starlette or a stream
                of aiohttp.
            filename: as people know it: stored, and never used as a path.
            uploaded_by: the user who sends it.
            purpose: what it will be attached to: ``mail``, chat too, or ``context``.
            media_type: None: what the filename's ending tells.
            file_hash: the SHA-256 that the sender tells, in hex: checked.
            file_size: the bytes that the sender tells: checked.
            most_bytes: how large it may be.

        Raises:
            BadInput: empty, too large, or not what the sender told; nothing is kept then.
            MissingReference: no such user.
            BadSettings: the folder is another database's.
            Unavailable: the folder cannot be written.

        Cost: one pass over the bytes, on a thread; one transaction of two statements.
        """
        values = {
            "filename": named(filename),
            "media_type": media_type_of(filename, media_type),
            "purpose": _purpose(purpose),
            "uploaded_by": whole_number(uploaded_by, "uploaded_by"),
            "public_id": secrets.token_urlsafe(16),
        }
        whole_number(most_bytes, "most_bytes")
        if file_hash is not None and not is_text(file_hash):
            raise BadInput(f"a SHA-256 is told as text in hex, not as {type(file_hash).__name__}")
        if file_size is not None and whole_number(file_size, "file_size") > most_bytes:
            raise BadInput(f"a file of {file_size:,} bytes is larger than {most_bytes:,}; send a smaller one")
        await self._take_folder()
        async with received(self._folder, stream, most_bytes=most_bytes) as incoming:
            _check(incoming, file_hash, file_size)
            key = key_of(incoming.hash)
            values |= {"storage_key": key, "file_size": incoming.size}
            for _ in range(_PLACINGS):
                await in_thread(incoming.place, self.connection.now())
                there = partial(self._placed, key, incoming.size)
                row = await self.connection.run(partial(kept, incoming.hash, there, values))
                if row is not None:
                    return row
        raise Unavailable(
            f"the file {filename!r} was cleared away {_PLACINGS} times; collect with a longer grace period"
        )

    def _placed(self, storage_key: str, size: int) -> bool:
        try:
            return self._folder.size(self._folder.path / storage_key) == size
        except OSError as error:
            raise unusable(error) from error

    async def _take_folder(self) -> None:
        """See that the folder is this database's, once for as long as the database is open."""
        if not self._folder.is_taken:
            identity = await self.connection.fetch_one(IDENTITY, {})
            if identity is None:
                raise SchemaMismatch("schema_version has no row; restore a backup, or run `agentdb stamp`")
            await in_thread(self._folder.take, identity)

    # Reading

    async def open(self, public_id: str, user_id: int) -> OpenFile:
        """Return a file to read or to send, for who may see it.

        That is who uploaded it, who sent or received a message it is attached to, blind copies too, and the user whose
        run logged it.

        Raises: NotFound when there is none, or not for this user, or the file is missing; DatabaseCorrupt when the file
            is not what was uploaded; Unavailable when the folder cannot be read.
        Cost: one read by unique keys.
        """
        row = await self.connection.fetch_one(OPEN, {"public_id": public_id, "user_id": user_id})
        if row is None:
            raise _unseen(public_id, user_id)
        path = self._folder.at(row.storage_key, row.public_id)
        size = await in_thread(self._folder.size, path)
        if size is None:
            raise gone(row.public_id)
        if size != row.file_size:
            raise altered(row.public_id)
        return OpenFile(row.public_id, row.filename, row.media_type, row.file_size, path, row.file_hash)

    async def describe(self, public_id: str, user_id: int) -> Upload:
        """Return what is known of an attachment beside its contents, for who may see it, as `open` has it.

        Raises: NotFound when there is none, or not for this user.
        Cost: one read by unique keys.
        """
        upload = await self.connection.fetch_one(DESCRIBE, {"public_id": public_id, "user_id": user_id})
        if upload is None:
            raise _unseen(public_id, user_id)
        return upload

    async def uploads(self, user_id: int | None = None, *, limit: int = 50, after: str | None = None) -> Page[Upload]:
        """Return what a user uploaded, newest first; None: what everybody did, for an administrator.

        Args:
            user_id: the uploader.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: one read by the index of the uploader and the id, or by the primary key.
        """
        limit = capped(limit, self.most)
        listing = f"attachments.uploads:{user_id}"
        values: dict[str, Any] = {"limit": limit + 1}
        if user_id is not None:
            values["uploaded_by"] = user_id
        if after is not None:
            values["place"] = values_of(listing, after, [attachments.c.id])[0]
        plan = uploads_plan(of_user=user_id is not None, further=after is not None)
        return page_of(await self.connection.fetch_all(plan, values), limit, listing, ["id"])

    async def usage(self, *, limit: int = 100) -> list[UploadedBy]:
        """Return how many bytes users have uploaded, who most first.

        Cost: one read of all rows.
        """
        return await self.connection.fetch_all(USAGE, {"limit": capped(limit, self.most)})

    # Clearing away

    async def collect(self, *, grace_seconds: float = GRACE_SECONDS, limit: int = 1_000) -> Collected:
        """Remove attachments that no message and no log refers to, files without a row, and what never came in.

        Any number of processes may collect, and others store the same files meanwhile:
        `agentdb.hub.filing.keeping` says why that is safe. Rows go first: on SQLite, after a power cut, a row
        that nothing refers to may be back without its file, until it is collected again.

        Args:
            grace_seconds: how long an upload waits to be attached: what is younger stays.
            limit: how many rows, files, and unfinished files at most.

        Raises: BadInput in a unit, whose rows could come back; BadSettings when the folder is another database's;
            Unavailable when it cannot be used.
        Cost: reads every row's id and the folder's names, in batches; a short transaction for each batch with something
            to remove.
        """
        if self._in_unit:
            raise BadInput("attachments are collected on the database, not in a unit: files do not come back with rows")
        if not is_number(grace_seconds) or not 0 <= grace_seconds <= 10**9:
            raise BadInput(f"a grace period is of 0 seconds or more, not {brief(grace_seconds)}")
        await self._take_folder()
        limit = capped(limit, self.most)
        before = self.connection.now() - timedelta(seconds=grace_seconds)
        rows = await self._collect_rows(before, limit)
        removed: dict[str, int] = {}
        await self._collect_files(before, limit, removed)
        unfinished = await in_thread(self._folder.sweep, before, limit)
        more = limit in {rows, len(removed), unfinished}
        return Collected(rows, len(removed), sum(removed.values()), unfinished, more)

    async def _collect_rows(self, before: datetime, limit: int) -> int:
        removed = after = 0
        while removed < limit:
            rows = await self.connection.fetch_all(NEXT, {"after": after, "before": before, "limit": _ROWS_AT_ONCE})
            if not rows:
                break
            after = rows[-1].id
            if ids := [row.id for row in rows if row.unused]:
                removed += await self.connection.run(partial(unused, ids, before, limit - removed))
        return removed

    async def _collect_files(self, before: datetime, limit: int, removed: dict[str, int]) -> None:
        def remove(file_hash: str) -> None:
            try:
                size = self._folder.remove(file_hash, before)
            except OSError as error:
                raise unusable(error) from error
            if size is not None:
                removed[file_hash] = size

        older = self._folder.older(before)
        while len(removed) < limit and (hashes := await in_thread(next, older, None)):
            used = set(await self.connection.fetch_all(IN_ROWS, {"hashes": hashes}))
            spare = [file_hash for file_hash in hashes if file_hash not in used]
            for first in range(0, len(spare), _FILES_AT_ONCE):
                batch = spare[first : first + min(_FILES_AT_ONCE, limit - len(removed))]
                if batch:
                    await self.connection.run(partial(unreferred, batch, remove))

    # Rows are added with their files, and stay as they are.

    async def add(self, **_values: Any) -> NoReturn:
        """Refuse: `store` adds the file too."""
        raise BadInput(_STORE_INSTEAD)

    async def add_many(self, _rows: Iterable[Mapping[str, Any]]) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_STORE_INSTEAD)

    async def update(self, *_key: Any, **_changes: Any) -> NoReturn:
        """Refuse: a file that was sent is not changed."""
        raise BadInput(_STORE_INSTEAD)

    async def upsert(self, **_values: Any) -> NoReturn:
        """Refuse, likewise."""
        raise BadInput(_STORE_INSTEAD)


def _purpose(purpose: AttachmentPurpose | str) -> AttachmentPurpose:
    try:
        return AttachmentPurpose(purpose)
    except ValueError:
        raise BadInput(f"a file is for {' or '.join(AttachmentPurpose)}, not {brief(purpose)}") from None


def _check(incoming: Incoming, file_hash: str | None, file_size: int | None) -> None:
    """Compare what came with what the sender told."""
    if file_size is not None and file_size != incoming.size:
        raise BadInput(f"the file has {incoming.size:,} bytes, not the {file_size:,} that were told; send it again")
    if file_hash is not None and file_hash.lower() != incoming.hash:
        raise BadInput("the file's SHA-256 is not the one that was told; send it again")


def _unseen(public_id: str, user_id: int) -> NotFound:
    return NotFound(f"user {user_id} has no attachment {public_id!r}")
