"""Cutting a text into chunks of so many tokens that overlap.

`split` is a plain function: whoever knows better gives the queue another, of the same shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from agentdb.engine.asked import is_text, whole_number
from agentdb.errors import BadInput

Count = Callable[[str], int]  # how many tokens a text has
Splitter = Callable[[str], Sequence[str]]

TOKENS: Final = 500
OVERLAP: Final = 50

# What is cut at: whole words with the space behind them, and longer stretches in pieces.
_PIECES: Final = re.compile(r"\S{1,16}\s{0,16}|\s{1,16}")
# Where a chunk had better end, the best first.
_ENDS: Final = (
    re.compile(r"\n\s*\n\s*\Z"),
    re.compile(r"[.!?…。！？]['\"”’)\]]*\s*\Z|\n\s*\Z"),  # noqa: RUF001 (they end sentences)
    re.compile(r"\s\Z"),
)


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has for most language models: one for each four bytes, rounded up."""
    return -(-len(text.encode(errors="surrogatepass")) // 4)


def split(text: str, *, tokens: int = TOKENS, overlap: int = OVERLAP, count: Count = estimate_tokens) -> list[str]:
    """Return the chunks of a text, in order: each is a stretch of it, and together they are all of it.

    A chunk has as many tokens as fit, but rather ends with a paragraph, a sentence or a word where one ends in its
    second half. The next one begins with up to ``overlap`` tokens of it, so that what is said across the cut is in one.

    Args:
        text: of any length; one of white space alone has no chunks.
        tokens: how many a chunk has at most; a piece of a word that alone has more is a chunk all the same.
        overlap: how many of them the chunk before has too, at most.
        count: how many tokens a text has; never fewer for a longer one. By default an estimate: a model's own tokenizer
            is exact.

    Raises: BadInput for what is no text, and unless ``tokens`` is above ``overlap``, and that is at least 0.
    """
    if not is_text(text):
        raise BadInput(f"what is split is a text, not {type(text).__name__}")
    if whole_number(tokens, "tokens") <= whole_number(overlap, "overlap") or overlap < 0:
        raise BadInput(f"a chunk of {tokens} tokens cannot overlap another by {overlap}; tokens > overlap >= 0")
    if not text.strip():
        return []
    places = [0, *(piece.end() for piece in _PIECES.finditer(text))]  # the end of each piece
    last = len(places) - 1
    chunks: list[str] = []
    begin = 0

    def fits(end: int) -> bool:
        return count(text[places[begin] : places[end]]) <= tokens

    while True:
        end = max(begin + 1, _farthest(begin, last, fits))
        if end < last:
            end = _well_ended(text, places, begin, end)
        chunks.append(text[places[begin] : places[end]])
        if end == last:
            return chunks
        begin = _overlapping(text, places, begin, end, lambda shared: count(shared) <= overlap)


def _farthest(begin: int, last: int, fits: Callable[[int], bool]) -> int:
    """Return the last place from ``begin`` that fits: strides double until one does not, and then halve."""
    stride = 1
    while begin + stride < last and fits(begin + stride):
        stride *= 2
    low, high = begin + stride // 2, min(begin + stride, last)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _well_ended(text: str, places: Sequence[int], begin: int, end: int) -> int:
    """Return the place nearest before the end where something ends, in the second half of the chunk."""
    for ending in _ENDS:
        for at in range(end, begin + (end - begin) // 2, -1):
            # A piece and the one before: a paragraph's end may be cut in two.
            if ending.search(text, places[max(begin, at - 2)], places[at]):
                return at
    return end


def _overlapping(text: str, places: Sequence[int], begin: int, end: int, fits: Callable[[str], bool]) -> int:
    """Return where the next chunk begins: as far before this one's end as the overlap allows, at a word."""
    low, high = begin + 1, end
    while low < high:
        middle = (low + high) // 2
        if fits(text[places[middle] : places[end]]):
            high = middle
        else:
            low = middle + 1
    at = low
    while at < end and not text[places[at] - 1].isspace():
        at += 1
    return at if at < end else low  # a stretch without white space is cut anywhere
