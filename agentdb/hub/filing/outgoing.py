"""A file on its way out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from agentdb.errors import BadInput, DatabaseCorrupt, NotFound, brief
from agentdb.hub.filing.folder import in_thread

CHUNK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that its reader may see: ``async for chunk in file: ...``, as often as wanted. It holds nothing open.

    Attributes:
        public_id: of the attachment.
        filename: as it was uploaded; for people, never a path.
        media_type: as it was uploaded: of HTML and SVG too, which a browser would run.
        size: in bytes.
        path: where it lies, for a server that sends files by itself.
    """

    public_id: str
    filename: str
    media_type: str
    size: int
    path: Path
    _hash: str

    def __repr__(self) -> str:
        return f"OpenFile({self.public_id!r}, size={self.size})"

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks()

    async def read(self) -> bytes:
        """Return the whole file, whose contents are what was uploaded.

        Raises: as `chunks`.
        """
        return b"".join([chunk async for chunk in self.chunks(verify=True)])

    async def chunks(self, *, size: int = CHUNK, verify: bool = False) -> AsyncIterator[bytes]:
        """Yield the file piece by piece, read on a thread.

        Args:
            size: of a piece, in bytes.
            verify: whether the contents are hashed again; the last piece then comes only if they are what was
                uploaded.

        Raises: NotFound when the file is gone; DatabaseCorrupt when it is not what was uploaded; Unavailable.
        """
        if type(size) is not int or size < 1:
            raise BadInput(f"the size of a piece is a whole number from 1, not {brief(size)}")
        file = await in_thread(self._open)
        try:
            digest, left = hashlib.sha256(), self.size
            while left:
                chunk = await in_thread(file.read, min(size, left))
                left -= len(chunk)
                if not chunk:
                    raise altered(self.public_id)
                if verify:
                    await in_thread(digest.update, chunk)
                    if not left and digest.hexdigest() != self._hash:
                        raise altered(self.public_id)
                yield chunk
        finally:
            file.close()

    def _open(self) -> BinaryIO:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise gone(self.public_id) from None
        if os.fstat(file.fileno()).st_size != self.size:
            file.close()
            raise altered(self.public_id)
        return file


def gone(public_id: str) -> NotFound:
    """Return the error of an attachment whose file is missing."""
    return NotFound(
        f"the file of attachment {public_id} is missing; restore the folder of attachments from a backup, "
        "or let AGENTDB_FOLDER be the folder that all machines share"
    )


def altered(public_id: str) -> DatabaseCorrupt:
    """Return the error of an attachment whose file is not what was uploaded."""
    return DatabaseCorrupt(
        f"the file of attachment {public_id} is not what was uploaded; restore it from a backup, "
        "or store the same contents once more"
    )
