"""Lines of a file that may be compressed, one at a time: a file is never held whole."""

from __future__ import annotations

import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from io import BufferedReader
from pathlib import Path
from typing import Final

from agentdb.errors import BadInput

_GZIP: Final = b"\x1f\x8b"
LONGEST_BYTES: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file.

    Attributes:
        number: from 1.
        content: without its end; None when the line is longer than `LONGEST_BYTES`.
        position: how much of the file, as it lies on the disk, was read with it.
    """

    number: int
    content: bytes | None
    position: int


@contextmanager
def opened(path: Path) -> Iterator[tuple[GzipFile | BufferedReader, BufferedReader]]:
    """Open a file, and give its content and the file itself: they differ when it is compressed.

    What it holds decides, not its name.

    Raises: BadInput when it cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] == _GZIP:
                with GzipFile(fileobj=file) as content:
                    yield content, file
            else:
                yield file, file
    except (EOFError, BadGzipFile, zlib.error):
        raise BadInput(f"{path} is damaged: its compressed content ends early or is garbled; get it anew") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def lines_of(path: Path, *, longest: int = LONGEST_BYTES) -> Iterator[Line]:
    """Yield the lines of a file that are not blank; of one that is too long, only that it is there.

    Raises: BadInput when the file cannot be read, or is damaged.
    """
    with opened(path) as (content, file):
        number = 0
        while line := content.readline(longest + 1):
            number += 1
            if len(line) > longest and not line.endswith(b"\n"):
                while (rest := content.readline(longest)) and not rest.endswith(b"\n"):
                    pass
                yield Line(number, None, file.tell())
            elif line.strip():
                content_of_line = line.removeprefix(BOM_UTF8) if number == 1 else line
                yield Line(number, content_of_line.rstrip(b"\r\n"), file.tell())
