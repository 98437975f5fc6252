"""What is told of a file beside its contents: its name and its kind."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from typing import Final

from agentdb.engine.asked import is_text
from agentdb.errors import BadInput

LONGEST: Final = 255
UNKNOWN: Final = "application/octet-stream"

# Python's own table: what a machine's administrator adds would make the same upload two kinds on two machines.
_TYPES: Final = mimetypes.MimeTypes()
_PACKED: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
# They would end a header, or a line of a log; all kinds of spaces are in people's filenames.
_CONTROLS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
# A type that is sent as a header holds no line break, nor anything else that ends one.
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:[ \t]*;[ -~]*)?")


def named(filename: object) -> str:
    """Return the name of a file, which is stored as it is and never used as a path.

    Raises: BadInput when it is empty, longer than 255 characters, or has control characters.
    """
    if not isinstance(filename, str) or not 1 <= len(filename) <= LONGEST:
        raise BadInput(f"a filename is text of 1 to {LONGEST} characters")
    if any(unicodedata.category(character) in _CONTROLS for character in filename):
        raise BadInput("a filename has no control characters; send its name as people read it")
    return filename


def media_type_of(filename: str, media_type: str | None) -> str:
    """Return the kind that was told, or else the one that the filename's ending tells.

    Raises: BadInput when what was told is no media type.
    """
    if media_type is None:
        guessed, packing = _TYPES.guess_type(re.sub("[/:]", "_", filename))  # not read as a URL
        return (guessed or UNKNOWN) if packing is None else _PACKED.get(packing, UNKNOWN)
    if not is_text(media_type) or len(media_type) > LONGEST or not _MEDIA_TYPE.fullmatch(media_type):
        raise BadInput("a media type is written as type/subtype, such as application/pdf")
    return media_type
