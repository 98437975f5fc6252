"""The grammar of seed files: a text as rows of fields, each with its place.

A comma ends a field, and LF or CRLF a row. A double quote begins a quoted run wherever it stands, and the next one ends
it; inside, two are one, and commas and ends of lines are text. Rows whose fields are all empty are left out. Every text
parses: what it means is for `cells`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

_PLAIN: Final = re.compile(r'[^",\n]*')  # up to the next character that means something
_QUOTED: Final = re.compile(r'[^"]*')


class Place(NamedTuple):
    """Where something begins in a file: line and character, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it was written, without its quotes, and where it begins."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Parsed:
    """The rows of a text, and where a quote begins that nothing ends: it takes the rest of the text with it."""

    rows: list[list[Field]]
    unended: Place | None


def parse(text: str) -> Parsed:
    """Return the rows of a text. Every character is looked at once or twice."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._parts: list[str] = []  # of the field
        self._place = Place(1, 1)
        self._row: list[Field] = []
        self._rows: list[list[Field]] = []
        self._unended: Place | None = None

    def parse(self) -> Parsed:
        text, length = self._text, len(self._text)
        while self._at < length:
            run = self._take(_PLAIN)
            end = text[self._at : self._at + 1]
            if end == "\n" and run.endswith("\r"):
                run = run[:-1]
            self._parts.append(run)
            if end == '"':
                self._quoted_run()
            elif end == ",":
                self._step()
                self._end_field()
            elif end == "\n":
                self._step()
                self._end_row()
        if self._parts or self._row:
            self._end_row()
        return Parsed(self._rows, self._unended)

    def _quoted_run(self) -> None:
        begins = self._here()
        self._step()
        while True:
            self._parts.append(self._take(_QUOTED))
            if self._at == len(self._text):
                self._unended = begins
                return
            self._step()
            if self._text[self._at : self._at + 1] != '"':
                return
            self._parts.append('"')
            self._step()

    def _take(self, run: re.Pattern[str]) -> str:
        """Return the run that begins here, which may be empty, and go behind it."""
        found = run.match(self._text, self._at)
        taken = found[0] if found else ""
        self._at += len(taken)
        if "\n" in taken:
            self._line += taken.count("\n")
            self._line_start = self._at - (len(taken) - taken.rfind("\n") - 1)
        return taken

    def _here(self) -> Place:
        return Place(self._line, self._at - self._line_start + 1)

    def _step(self) -> None:
        if self._text[self._at] == "\n":
            self._line += 1
            self._line_start = self._at + 1
        self._at += 1

    def _end_field(self) -> None:
        self._row.append(Field("".join(self._parts), self._place))
        self._parts = []
        self._place = self._here()

    def _end_row(self) -> None:
        self._end_field()
        if any(field.text for field in self._row):
            self._rows.append(self._row)
        self._row = []
