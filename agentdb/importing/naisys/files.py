"""Attachments: each with its file, where that is still there; without it, what is known of it."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, select

from agentdb.criteria import table_of
from agentdb.engine.connection import Script, each, every
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_unless_there
from agentdb.errors import BadInput, SchemaMismatch
from agentdb.hub.filing.folder import Folder, in_thread, key_of
from agentdb.hub.filing.incoming import received
from agentdb.hub.filing.keeping import IDENTITY, kept
from agentdb.hub.filing.kinds import LONGEST, media_type_of
from agentdb.hub.models.mail import Attachment, AttachmentPurpose
from agentdb.importing.naisys.marks import turn
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import identifier, moment, text, whole, word
from agentdb.importing.naisys.work import Importing

_LONGEST_ID: Final = 22
_is_digest: Final = re.compile(r"[0-9a-f]{64}").fullmatch

_attachments: Final[Table] = table_of(Attachment)
_THERE: Final = Plan[Attachment](
    select(Attachment).where(among(_attachments.c.public_id, "public_ids")),
    name="import: attachments",
    rows=Attachment,
)


async def import_attachments(work: Importing) -> None:
    """Bring attachments, and copy their files into this database's folder, each checked by its hash."""
    folder = Folder(work.database.attachments)
    total, done, missing = await work.hub.count("attachments"), 0, 0
    if total:
        await _take(work, folder)
    async for rows in work.hub.pages("attachments"):
        found = work.carried("attachments", rows, partial(_values, work))
        there = await _there(work, found)
        new = [(row, values) for row, values in found if values["public_id"] not in there]
        for row, values in new:
            if not await _copied(work, folder, row, values):
                missing += 1
        await work.write(partial(_rows, [values for _, values in new]))
        work.report.stored("attachments", len(new), len(found) - len(new))
        there = await _there(work, found)
        work.attachments.update({row["id"]: there[values["public_id"]] for row, values in found})
        done += len(rows)
        work.progress("attachments", done, total)
    if missing:
        work.report.note(
            f"{missing} attachments are here without their files, which were not found, or are not what was uploaded;"
            f" copy what is below attachments/hub of the source into {folder.path}"
        )


async def _take(work: Importing, folder: Folder) -> None:
    identity = await work.connection.fetch_one(IDENTITY, {})
    if identity is None:
        raise SchemaMismatch("schema_version has no row; restore a backup, or run `agentdb stamp`")
    await in_thread(folder.take, identity)


async def _there(work: Importing, found: Sequence[tuple[Row, dict[str, Any]]]) -> dict[str, int]:
    rows = await work.connection.fetch_all(_THERE, {"public_ids": [values["public_id"] for _, values in found]})
    return {row.public_id: row.id for row in rows}


def _values(work: Importing, row: Row) -> tuple[Row, dict[str, Any]]:
    digest = text(row["file_hash"]).lower()
    if _is_digest(digest) is None:
        raise BadInput("its hash is no SHA-256")
    filename = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "_", text(row["filename"]))[:LONGEST] or "file"
    return row, {
        "public_id": _public_id(row),
        "filename": filename,
        "media_type": media_type_of(filename, None),
        "file_size": whole(row["file_size"]),
        "file_hash": digest,
        "purpose": word(AttachmentPurpose, row["purpose"]),
        "storage_key": key_of(digest),
        "uploaded_by": work.users.get(row["uploaded_by"]),
        "created_at": moment(row["created_at"]),
    }


def _public_id(row: Row) -> str:
    told = text(row["public_id"])
    if 0 < len(told) <= _LONGEST_ID:
        return told
    given = identifier(None, f"attachment {row['id']} {row['file_hash']} {row['created_at']}")
    return base64.urlsafe_b64encode(given.bytes).rstrip(b"=").decode()


async def _copied(work: Importing, folder: Folder, row: Row, values: dict[str, Any]) -> bool:
    """Copy a file, and tell whether it is there; a row that is stored with it holds it from then on."""
    digest, size = values["file_hash"], values["file_size"]
    final = folder.path / values["storage_key"]
    path = await asyncio.to_thread(_found, work.files, text(row["filepath"]), values["storage_key"], size)
    if path is None:
        return await in_thread(_is_there, folder, final, size)
    with path.open("rb") as content:
        async with received(folder, content, most_bytes=size) as incoming:
            if incoming.hash != digest:
                work.report.tell("attachments", row["id"], f"{path} is not what was uploaded: its hash differs")
                return False
            await in_thread(incoming.place, work.connection.now())
            there = partial(_is_there, folder, final, size)
            await work.write(partial(_kept, digest, there, values))
            return True


def _is_there(folder: Folder, final: Path, size: int) -> bool:
    return folder.size(final) == size


def _found(files: Path | None, told: str, storage_key: str, size: int) -> Path | None:
    """Return where a file of the source is: where its row says, or where it was moved with its folder."""
    places = [Path(told)] if told else []
    if files is not None:
        places.append(files / storage_key)
    for path in places:
        try:
            if path.is_file() and path.stat().st_size == size > 0:
                return path
        except OSError:
            continue
    return None


def _kept(digest: str, there: Any, values: dict[str, Any]) -> Script[Attachment | None]:
    yield from turn()
    if (yield from every(_THERE, public_ids=[values["public_id"]])):
        return None
    given = {key: value for key, value in values.items() if key != "file_hash"}
    return (yield from kept(digest, there, given))


def _rows(rows: Sequence[dict[str, Any]]) -> Script[None]:
    """Store what has no file; what has one is there already."""
    yield from turn()
    yield from each(insert_unless_there(Attachment, ("public_id",)), rows)
