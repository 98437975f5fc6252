"""What a field of a seed file is: null, a file's text, a variable's, a flag, JSON, a number, or text.

Quotes do not protect from this; a column whose header ends in ``:text`` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Final

import msgspec

from agentdb import jsons
from agentdb.seeding.folder import SeedFolder

# What the grammar's first reader, JavaScript, trims: not quite what str.strip() does.
_BLANKS: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_decimal: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_based: Final = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)").fullmatch
_infinite: Final = re.compile(r"[+-]?Infinity").fullmatch
_EXACT: Final = 1_000  # digits, and places of an exponent, up to which a number is worked out exactly
_MOST_DIGITS: Final = 40  # of a whole number that is an int


class Kind(Enum):
    """What a field turned out to be."""

    NULL = auto()
    FILE = auto()
    VARIABLE = auto()
    FLAG = auto()
    JSON = auto()
    NUMBER = auto()
    TEXT = auto()


HIDDEN: Final = frozenset({Kind.FILE, Kind.VARIABLE})  # their values are not told in messages


@dataclass(frozen=True, slots=True)
class Cell:
    """A field's value, and the trimmed text it was read from."""

    kind: Kind
    value: Any
    text: str


def cell_of(written: str, folder: SeedFolder | None, environment: Mapping[str, str], *, cast: bool = True) -> Cell:
    """Return what a field is.

    Args:
        written: the field, without its quotes.
        folder: where ``file:`` leads; without one it is text.
        environment: where ``env:`` leads.
        cast: False where numbers, flags and JSON are text.

    Raises: BadInput for a file that cannot be read, or is outside the folder.
    """
    text = written.strip(_BLANKS)
    if text == "null":
        return Cell(Kind.NULL, None, text)
    if folder is not None and text.startswith("file:"):
        return Cell(Kind.FILE, folder.read(text.removeprefix("file:")), text)
    if text.startswith("env:"):
        value = _variable(text, environment)
        return Cell(Kind.NULL if value is None else Kind.VARIABLE, value, text)
    return _cast(text, environment) if cast else Cell(Kind.TEXT, text, text)


def _cast(text: str, environment: Mapping[str, str]) -> Cell:
    if text in {"true", "false"}:
        return Cell(Kind.FLAG, text == "true", text)
    if len(text) > 1 and text[0] in "{[":
        return _json(text, environment)
    number = number_of(text)
    return Cell(Kind.TEXT, text, text) if number is None else Cell(Kind.NUMBER, number, text)


def _variable(text: str, environment: Mapping[str, str]) -> str | None:
    try:
        return environment.get(text.removeprefix("env:"))
    except UnicodeEncodeError:  # no variable has such a name here
        return None


def _json(text: str, environment: Mapping[str, str]) -> Cell:
    try:
        value = jsons.decode(text)
        return Cell(Kind.JSON, _filled(value, environment), text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Cell(Kind.TEXT, text, text)


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    """Return JSON in which each text that names a variable is what the variable holds."""
    if isinstance(value, str):
        return _variable(value, environment) if value.startswith("env:") else value
    if isinstance(value, dict):
        return {key: _filled(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environment) for item in value]
    return value


def number_of(text: str) -> int | Decimal | float | None:
    """Return the number that a text is to JavaScript, but with all its digits; None when it is none."""
    if _decimal(text):
        mantissa, _, exponent = text.lower().partition("e")
        if len(mantissa) > _EXACT or len(exponent) > 4 or abs(int(exponent or 0)) > _EXACT:
            return float(text)
        number = Decimal(text)
        whole = number == number.to_integral_value() and number.adjusted() < _MOST_DIGITS
        return int(number) if whole else number
    if _based(text):
        return int(text, 0)
    return float(text) if _infinite(text) else None
