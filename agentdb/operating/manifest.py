"""What a backup says of itself. It is a folder: the database, attachments, and manifest.json, which is written last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from agentdb.engine.disk import sync
from agentdb.errors import BadInput
from agentdb.operating.contents import Contents, StoredFile

NAME: Final = "manifest.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup. It holds no secret: of the encryption keys only their ids."""

    format: int
    agentdb: str  # the version that made it
    taken_at: datetime
    kind: str  # of database
    file: str  # the database, in the backup's folder
    size: int  # of it, in bytes
    sha256: str  # of it
    contents: Contents
    missing: list[StoredFile]  # of the contents' files: those that were not there, or were damaged
    verified: bool  # by restoring it to a scratch database

    def write(self, folder: Path) -> None:
        """Write it, so that it is there as a whole or not at all."""
        unfinished = folder / f"{NAME}.unfinished"
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        sync(unfinished)
        unfinished.rename(folder / NAME)
        sync(folder)


def read(folder: Path) -> Manifest:
    """Return the manifest of a backup.

    Raises: BadInput when the folder is no backup, or one of another form.
    """
    try:
        text = (folder / NAME).read_bytes()
    except FileNotFoundError:
        within = sorted(found.parent.name for found in folder.glob(f"*/{NAME}"))
        near = f"; the newest one in it is {within[-1]}" if within else ""
        raise BadInput(f"{folder} is not a backup: it has no {NAME}{near}") from None
    try:
        form = msgspec.json.decode(text, type=_Form).format
        if form != FORMAT:
            raise BadInput(f"the backup {folder} has form {form}, and this code reads {FORMAT}; install its agentdb")
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"the manifest of the backup {folder} cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class _Form:
    format: int
