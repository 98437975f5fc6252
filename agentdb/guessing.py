"""Guessing: in how few bits a key can be told by somebody who expects a phrase, a sequence, or something repeated.

Each kind of expectation is a probability of every possible key. Random keys all have the same one; where an expectation
gives a key 2**n times as much, it saves n bits. By Markov's inequality no expectation, however clever, saves n bits of
more than one random key in 2**n: so a random key is practically never mistaken for a weak one, and nothing has to be
known of how the weak ones are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from math import log2
from operator import eq
from typing import Final

_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_HEX: Final = "0123456789abcdef"
# How often letters come in English texts.
_PARTS: Final = (127, 91, 82, 75, 70, 67, 63, 61, 60, 43, 40, 28, 28, 24, 24, 22, 20, 20, 19, 15, 10, 8, 2, 2, 1, 1)
_ENGLISH: Final = {
    letter: parts / sum(_PARTS) for letter, parts in zip("etaoinshrdlcumwfgypbvkjxqz", _PARTS, strict=True)
}
_KEYBOARD: Final = "1234567890qwertyuiopasdfghjklzxcvbnm+/"
_PRINTED: Final = log2(0.98 / 95)  # how likely a byte is that can be printed, when nothing else is known of a text
_OTHER: Final = log2(0.02 / 161)
_LONGEST_LAG: Final = 64  # of what is repeated, in bytes


def most_bits_saved(text: str, key: bytes) -> tuple[str, float]:
    """Return by which expectation a key is told best, in words that follow "the key", and how many bits it saves.

    Args: text: as it was written, in hex or base64 without padding; key: the bytes it spells.
    """
    return max(_told(text, key), key=lambda told: told[1])


def _told(text: str, key: bytes) -> Iterator[tuple[str, float]]:
    symbols = text.lower() if len(text) == 2 * len(key) else text.replace("-", "+").replace("_", "/")
    alphabet = _HEX if len(text) == 2 * len(key) else _BASE64
    places = bytes(map(alphabet.index, symbols))
    for numbers, size in ((key, 256), (places, len(alphabet))):
        yield "repeats itself", _few(numbers, size)
        yield "repeats itself", _few(_steps(numbers, size), size)
        yield "repeats itself", _again(numbers, size)
    typed = bytes(_KEYBOARD.find(symbol) % len(_KEYBOARD) for symbol in symbols.lower())
    yield "repeats itself", _few(_steps(typed, len(_KEYBOARD)), len(alphabet) // 2)  # a key has two cases
    yield "reads like a phrase", sum(8 + (_PRINTED if 32 <= byte < 127 else _OTHER) for byte in key)
    yield "reads like a phrase", _printed(key)
    for english in (0.0, 0.9):
        yield "reads like a phrase", _typed(symbols, alphabet, english)


def _steps(numbers: bytes, size: int) -> bytes:
    return bytes((after - before) % size for before, after in pairwise(numbers))


def _few(numbers: bytes, size: int) -> float:
    """Tell each number by how often it came before."""
    seen: Counter[int] = Counter()
    saved = 0.0
    for place, number in enumerate(numbers):
        # Half of what is expected is anything: random numbers cost a bit each, and those that come again save.
        saved += _log((size * seen[number] / place + 1) / 2 if place else 1.0)
        seen[number] += 1
    return saved


def _again(numbers: bytes, size: int) -> float:
    """Tell each number by the one so many places before: the best distance, less the bits that name it."""
    longest = min(_LONGEST_LAG, len(numbers) - 1)
    same, other = log2((size + 1) / 2), -1.0
    best = 0.0
    for lag in range(1, longest + 1):
        hits = sum(map(eq, numbers, numbers[lag:]))
        best = max(best, hits * same + (len(numbers) - lag - hits) * other)
    return best - log2(longest)


def _printed(key: bytes) -> float:
    """Tell each byte by how often it comes in texts."""
    letters = _letters()
    return sum(letters[byte] for byte in key)


def _typed(symbols: str, alphabet: str, english: float) -> float:
    """Tell each symbol by its kind, which goes by that of the one before, and by how often it comes in texts."""
    likely = _typing(alphabet, english)
    return sum(likely[before, symbol] for before, symbol in zip(" " + symbols, symbols, strict=False))


def _kind(symbol: str) -> str:
    return "digit" if symbol.isdigit() else "lower" if symbol.islower() else "upper" if symbol.isupper() else "other"


# Of words and numbers that somebody typed: what comes behind what, in parts of a hundred.
_BEHIND: Final = {
    "lower": {"lower": 84, "upper": 8, "digit": 5, "other": 3},
    "upper": {"lower": 55, "upper": 38, "digit": 4, "other": 3},
    "digit": {"lower": 8, "upper": 8, "digit": 81, "other": 3},
    "other": {"lower": 45, "upper": 25, "digit": 25, "other": 5},
}


@cache
def _log(ratio: float) -> float:
    return log2(ratio)


@cache
def _letters() -> list[float]:
    """Return how many bits each byte saves in a text: letters and spaces many, what else can be printed some."""
    likely = [0.02 / 256] * 256
    for byte in range(32, 127):
        likely[byte] += 0.28 / 95
    likely[ord(" ")] += 0.1
    for letter, share in _ENGLISH.items():
        likely[ord(letter)] += 0.5 * share
        likely[ord(letter.upper())] += 0.1 * share
    return [log2(256 * share) for share in likely]


@cache
def _typing(alphabet: str, english: float) -> dict[tuple[str, str], float]:
    """Return how many bits each symbol saves behind each other.

    Args: english: how much of it is told by the letters of English; the rest by the kind alone.
    """
    kinds = {kind: [symbol for symbol in alphabet if _kind(symbol) == kind] for kind in _BEHIND}
    saved = {}
    for before in " " + alphabet:
        behind = {kind: parts for kind, parts in _BEHIND[_kind(before)].items() if kinds[kind]}
        for kind, parts in behind.items():
            of_kind = sum(_ENGLISH.get(symbol.lower(), 1) for symbol in kinds[kind])
            for symbol in kinds[kind]:
                share = english * _ENGLISH.get(symbol.lower(), 1) / of_kind + (1 - english) / len(kinds[kind])
                saved[before, symbol] = log2(len(alphabet) * share * parts / sum(behind.values()))
    return saved
