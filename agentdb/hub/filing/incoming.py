"""A file on its way in: measured and hashed as it comes, complete and on the disk before anybody can find it."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Final, Protocol, TypeAlias

from agentdb.errors import BadInput
from agentdb.hub.filing.folder import INCOMING, Folder, in_thread, key_of

PORTION: Final = 1 << 18  # bytes that go to a thread at once


class Reader(Protocol):
    """What can be read piece by piece: an upload of starlette, a stream of aiohttp or of asyncio."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return up to this many bytes; none at the end."""
        ...


Piece: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = Piece | Iterable[Piece] | AsyncIterable[Piece] | Reader | BinaryIO


class Incoming:
    """One file on its way in. Its methods block, one at a time; what comes after `discard` does nothing."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = Lock()
        self._file: BinaryIO | None = None
        self._path = self._new_path()
        self._digest = hashlib.sha256()
        self._over = False
        self.size = 0

    @property
    def hash(self) -> str:
        """The SHA-256 of what came, in hex."""
        return self._digest.hexdigest()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write what came."""
        with self._lock:
            if not self._over:
                self._write(pieces)

    def complete(self, pieces: Sequence[bytes]) -> None:
        """Write the rest, and have it on the disk."""
        with self._lock:
            if not self._over:
                self._sync(self._write(pieces))

    def _write(self, pieces: Sequence[bytes]) -> BinaryIO:
        if self._file is None:
            self._file = self._make()
        for piece in pieces:
            self._file.write(piece)
            self._digest.update(piece)
            self.size += len(piece)
        return self._file

    def place(self, at: datetime) -> None:
        """Put the file where its hash says, in place of the same contents that may be there.

        A name is never without a file in between, and who has the old one open reads on. Once it is there it may be
        cleared away, as long as no row says that it is needed; it can then be placed again.

        Args: at: what the file tells as the moment it was placed.
        """
        with self._lock:
            if self._over or self._file is None:
                return
            final = self._folder.path / key_of(self.hash)
            self._folder.make(final.parent)
            os.utime(self._file.fileno(), (at.timestamp(), at.timestamp()))
            while not self._renamed(final):  # it was placed before, or cleared away before it was
                self._file = self._copied(self._file)
                os.utime(self._file.fileno(), (at.timestamp(), at.timestamp()))
            self._folder.sync(final.parent)

    def _renamed(self, final: Path) -> bool:
        try:
            self._path.replace(final)
        except FileNotFoundError:
            if not final.parent.is_dir():
                raise
            return False
        return True

    def discard(self) -> None:
        """Let go of the file, and remove it unless it was placed."""
        with self._lock:
            self._over = True
            if self._file is not None:
                self._file.close()
                self._path.unlink(missing_ok=True)
                self._file = None

    def _new_path(self) -> Path:
        return self._folder.path / INCOMING / f"{secrets.token_hex(16)}.part"

    def _make(self) -> BinaryIO:
        self._folder.make(self._path.parent)
        descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        return os.fdopen(descriptor, "w+b")

    def _copied(self, file: BinaryIO) -> BinaryIO:
        """Return a copy under a new name: the file has lost its own, but an open file keeps its contents."""
        self._path = self._new_path()
        file.seek(0)
        with file:
            copy = self._make()
            shutil.copyfileobj(file, copy)
        self._sync(copy)
        return copy

    def _sync(self, file: BinaryIO) -> None:
        file.flush()
        if self._folder.durable:
            os.fsync(file.fileno())


@asynccontextmanager
async def received(folder: Folder, stream: Source, *, most_bytes: int) -> AsyncIterator[Incoming]:
    """Yield a file that has come in as a whole, to be placed; nothing of it stays where it is not.

    Raises: BadInput when it is empty or too large, as soon as that is known; Unavailable; whatever the stream raises.
    """
    incoming = Incoming(folder)
    try:
        await _fill(incoming, stream, most_bytes)
        yield incoming
    finally:
        await in_thread(incoming.discard)


async def _fill(incoming: Incoming, stream: Source, most_bytes: int) -> None:
    waiting: list[bytes] = []
    held = size = 0
    async with aclosing(_pieces(stream)) as pieces:
        async for piece in pieces:
            waiting.append(piece)
            held += len(piece)
            size += len(piece)
            if size > most_bytes:
                raise BadInput(f"the file is larger than {most_bytes:,} bytes; send a smaller one")
            if held >= PORTION:
                await in_thread(incoming.write, waiting)
                waiting, held = [], 0
    if size == 0:
        raise BadInput("the file is empty; send at least one byte")
    await in_thread(incoming.complete, waiting)


async def _pieces(stream: Any) -> AsyncGenerator[bytes, None]:
    """Yield what a stream has, whichever kind it is; the pieces are our own, whatever becomes of the caller's."""
    if isinstance(stream, Piece):
        yield bytes(stream)
    elif isinstance(stream, io.IOBase):
        while piece := await asyncio.to_thread(stream.read, PORTION):
            yield _bytes(piece)
    elif hasattr(stream, "read"):
        while piece := await _awaited(stream.read(PORTION)):
            yield _bytes(piece)
    elif isinstance(stream, AsyncIterable):
        async for piece in stream:
            yield _bytes(piece)
    elif isinstance(stream, Iterable) and not isinstance(stream, str):
        for piece in stream:
            yield _bytes(piece)
    else:
        raise BadInput(f"a file comes as bytes, as chunks of bytes, or from a reader, not as {type(stream).__name__}")


async def _awaited(piece: Any) -> Any:
    return await piece if inspect.isawaitable(piece) else piece


def _bytes(piece: Any) -> bytes:
    if not isinstance(piece, Piece):
        raise BadInput(f"a chunk of a file is bytes, not {type(piece).__name__}; encode text first")
    return bytes(piece)
