"""A cell as a value of its column, or the reason why it is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

from sqlalchemy import Column

from agentdb.engine.blobs import SecretType
from agentdb.engine.quantities import MomentType, MoneyType, WholeType
from agentdb.engine.spelling import FlagType, JsonType, Word
from agentdb.errors import BadInput
from agentdb.seeding.cells import HIDDEN, Cell, Kind

# A number that reads the same when it is written again: nothing is lost where a text is wanted.
_canonical: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{0,14}[1-9])?|-?Infinity").fullmatch
_MOST_BITS: Final = 64
_GIVEN: Final = {
    Kind.FILE: "the text of a file",
    Kind.VARIABLE: "the text of a variable",
    Kind.FLAG: "true or false",
    Kind.JSON: "JSON",
    Kind.NUMBER: "a number",
    Kind.TEXT: "text",
}


def fitted(column: Column[Any], cell: Cell) -> Any:
    """Return what a cell is in a column; a secret as it is before it is sealed.

    Raises: BadInput for what the column cannot hold; what a variable or a file holds is not told.
    """
    if cell.kind is Kind.NULL:
        if not column.nullable:
            raise BadInput(f"{column.name} is never null")
        return None
    try:
        return checked(column, _converted(column, cell))
    except BadInput as error:
        if cell.kind in HIDDEN or isinstance(column.type, SecretType):
            raise BadInput(f"{column.name} cannot hold {_GIVEN[cell.kind]} that is there") from None
        raise BadInput(f"{column.name}: {error}") from None


def _converted(column: Column[Any], cell: Cell) -> Any:
    kind = column.type
    if isinstance(kind, JsonType):
        return _json(column, cell)
    if isinstance(kind, SecretType) and cell.kind is Kind.JSON:
        return cell.value
    if not isinstance(kind, Word):  # a key
        return _whole(cell)
    convert = next((convert for known, convert in _CONVERSIONS.items() if isinstance(kind, known)), _text)
    return convert(cell)


def checked(column: Column[Any], value: Any) -> Any:
    """Return a value that either database holds: a column's word decides, whichever it is spelled for.

    Raises: BadInput, which may tell the value.
    """
    kind = column.type if isinstance(column.type, Word) else WholeType()
    process = kind.binder("")
    if process is None or isinstance(kind, SecretType):
        return value
    stored = process(value)
    return value if isinstance(kind, JsonType | MoneyType) else stored


def _json(column: Column[Any], cell: Cell) -> Any:
    default = getattr(column.default, "arg", None)
    wanted = list if getattr(default, "__name__", "") == "list" else dict
    if cell.kind is not Kind.JSON or not isinstance(cell.value, wanted):
        _refuse("JSON, a list" if wanted is list else "JSON, an object", cell)
    return cell.value


def _flag(cell: Cell) -> bool:
    if cell.kind is not Kind.FLAG:
        _refuse("true or false", cell)
    return bool(cell.value)


def _money(cell: Cell) -> Decimal:
    if cell.kind is not Kind.NUMBER or isinstance(cell.value, float):
        _refuse("an amount of dollars", cell)
    if isinstance(cell.value, int):
        return Decimal(_small(cell.value))
    amount: Decimal = cell.value
    return amount


def _whole(cell: Cell) -> int:
    if cell.kind is not Kind.NUMBER or not isinstance(cell.value, int):
        _refuse("a whole number", cell)
    return _small(cell.value)


def _small(number: int) -> int:
    """Return a number that messages can show: of thousands of digits, Python refuses the text."""
    if number.bit_length() > _MOST_BITS:
        raise BadInput("a number of more than 64 bits")
    return number


def _moment(cell: Cell) -> datetime:
    try:
        return datetime.fromisoformat(_text(cell))
    except ValueError:
        raise BadInput("a moment such as 2026-11-20T12:00:00+00:00 is expected") from None


def _text(cell: Cell) -> str:
    if cell.kind is Kind.NUMBER and not _canonical(cell.text):
        raise BadInput(
            f"{cell.text[:40]} is read as a number, and would not stay as it is written; end the header in :text"
        )
    return cell.value if cell.kind in HIDDEN else cell.text


_CONVERSIONS: Final[Mapping[type[Word], Callable[[Cell], Any]]] = {
    FlagType: _flag,
    MoneyType: _money,
    WholeType: _whole,
    MomentType: _moment,
}


def _refuse(wanted: str, cell: Cell) -> NoReturn:
    shown = "" if cell.kind in HIDDEN else f": {cell.text[:40]!r}"
    given = f"{_GIVEN[cell.kind]}{shown}" if cell.text else "nothing; write null for no value"
    raise BadInput(f"{wanted} is expected, not {given}")
