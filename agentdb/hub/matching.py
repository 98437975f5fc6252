"""Finding any of many words in a text, in a time that grows with the text alone."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

SHORTEST: Final = 6  # of a word, in characters

Span = tuple[int, int, int]  # where it begins, where it ends, and which word


class Words:
    """Words to find in texts.

    A regular expression jumps to the next place where the first six characters of a word stand. From there an automaton
    reads on, each character once, until no word can have begun any more. An expression of the whole words would not do:
    where many begin alike, it reads the same characters again and again.

    Args: words: each of at least six characters.
    Source: Aho and Corasick, Efficient string matching, 1975.
    """

    __slots__ = ("_beginning", "_fallback", "_found", "_lengths", "_next")

    def __init__(self, words: Iterable[str]) -> None:
        each = list(dict.fromkeys(words))
        self._lengths = [len(word) for word in each]
        self._next: list[dict[str, int]] = [{}]  # of each state, by the next character; 0 is where nothing has begun
        self._found = [-1]  # the longest word that ends in a state, of -1 for none
        for place, word in enumerate(each):
            self._add(word, place)
        self._fallback = self._fallbacks()
        self._beginning = re.compile(_any_of({word[:SHORTEST] for word in each})) if each else None

    def _add(self, word: str, place: int) -> None:
        state = 0
        for character in word:
            following = self._next[state].get(character)
            if following is None:
                following = self._next[state][character] = len(self._next)
                self._next.append({})
                self._found.append(-1)
            state = following
        self._found[state] = place

    def _fallbacks(self) -> list[int]:
        """Return for each state the one of the longest ending of what it stands for with which a word begins."""
        fallback = [0] * len(self._next)
        waiting = deque(self._next[0].values())
        while waiting:
            state = waiting.popleft()
            if self._found[state] < 0:
                self._found[state] = self._found[fallback[state]]
            for character, following in self._next[state].items():
                shorter = fallback[state]
                while shorter and character not in self._next[shorter]:
                    shorter = fallback[shorter]
                fallback[following] = self._next[shorter].get(character, 0)
                waiting.append(following)
        return fallback

    def spans(self, text: str) -> list[Span]:
        """Return where words stand, in order; words that overlap are one span, of the longest of them."""
        spans: list[Span] = []
        at = 0
        while self._beginning is not None and (begun := self._beginning.search(text, at)) is not None:
            at = self._read(text, begun.start(), spans)
        return spans

    def _read(self, text: str, at: int, spans: list[Span]) -> int:
        """Read from where a word may begin until none can have begun, and return where that is."""
        following, fallback, found, lengths = self._next, self._fallback, self._found, self._lengths
        state = 0
        begin, until, word = at, at, -1  # the span that may still grow
        for end in range(at + 1, len(text) + 1):
            character = text[end - 1]
            while state and character not in following[state]:
                state = fallback[state]
            state = following[state].get(character, 0)
            if not state:
                break
            ended = found[state]
            if ended < 0:
                continue
            first = end - lengths[ended]
            if first >= until:
                if word >= 0:
                    spans.append((begin, until, word))
                begin, word = first, ended
            else:
                while spans and first < spans[-1][1]:
                    first, _, other = spans.pop()
                    word = max(word, other, key=lengths.__getitem__)
                begin = min(begin, first)
                if lengths[ended] > lengths[word]:
                    word = ended
            until = end
        if word >= 0:
            spans.append((begin, until, word))
        return end


def _any_of(beginnings: Collection[str]) -> str:
    """Return an expression of texts of one length that shares what they begin with."""
    by_first: dict[str, set[str]] = {}
    for text in sorted(beginnings):
        if text:
            by_first.setdefault(text[0], set()).add(text[1:])
    branches = [re.escape(first) + _any_of(rest) for first, rest in by_first.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})" if branches else ""
