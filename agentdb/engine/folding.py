"""Text as it is compared without case, folded in Python: the same on both databases."""

from __future__ import annotations

import unicodedata
from typing import Final

ESCAPE: Final = "!"


def folded(text: str) -> str:
    """Return a text as it is compared without case.

    Source: Unicode Standard, section 3.13 (canonical caseless matching).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def containing(text: str) -> str:
    """Return the LIKE pattern, with ``ESCAPE``, of folded texts that contain this one as it is written."""
    pattern = folded(text)
    for special in (ESCAPE, "%", "_"):
        pattern = pattern.replace(special, ESCAPE + special)
    return f"%{pattern}%"
