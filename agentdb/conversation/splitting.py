"""Splitting a text into pieces that overlap: small enough to embed, large enough to mean something."""

from __future__ import annotations

from typing import Final

from agentdb.engine.asked import is_text, whole_number
from agentdb.errors import BadInput

SIZE: Final = 4_000
OVERLAP: Final = 400
_ENDS: Final = ("\n\n", "\n", ". ", " ")  # where to cut, the best first


def split_text(text: str, *, size: int = SIZE, overlap: int = OVERLAP) -> list[str]:
    """Return a text as pieces in order, each of which begins within the end of the one before.

    A piece ends behind a paragraph, a line, a sentence or a word, where one of them ends in its second half, and
    otherwise wherever it is full. No character is lost; a text without anything but white space has no pieces.

    Args:
        text: of any length.
        size: how many characters a piece has at most.
        overlap: how many of them the next piece says again, at most half of the size.

    Raises: BadInput for what is no text, a size below 1 or an overlap that is more than half of it.
    """
    if not is_text(text):
        raise BadInput(f"what is split is a text, not {type(text).__name__}")
    if whole_number(size, "size") < 1 or not 0 <= whole_number(overlap, "overlap") <= size // 2:
        raise BadInput(f"pieces of {size} characters that overlap by {overlap}: an overlap is at most half of the size")
    if not text.strip():
        return []
    pieces, start = [], 0
    while len(text) - start > size:
        end = _end(text, start, size)
        pieces.append(text[start:end])
        start = max(end - overlap, start + 1)
    pieces.append(text[start:])
    return pieces


def _end(text: str, start: int, size: int) -> int:
    """Return where the piece that begins at a place ends."""
    half, full = start + size // 2 + 1, start + size
    for mark in _ENDS:
        place = text.rfind(mark, half, full)
        if place >= 0:
            return place + len(mark)
    return full
