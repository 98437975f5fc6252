"""What callers ask for, checked before it is sent: a wrong type is told here, to the one who passed it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from agentdb.engine.quantities import utc
from agentdb.errors import BadInput, brief

_BEYOND: Final = 2**63
_LONGEST: Final = 100 * 365 * 86_400.0


def whole_number(value: Any, what: str) -> int:
    """Return a whole number of 64 bits.

    Raises: BadInput for anything else, flags and decimals too.
    """
    if type(value) is not int:
        raise BadInput(f"{what} is a whole number, not {type(value).__name__}")
    if not -_BEYOND <= value < _BEYOND:
        raise BadInput(f"{what} is a whole number of 64 bits, not of {value.bit_length() + 1:,}")
    return value


def whole_numbers(values: Iterable[Any], what: str) -> list[int]:
    """Return whole numbers.

    Raises: BadInput for anything else among them, or for what is no list.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise BadInput(f"{what}: a list of whole numbers was expected, not {type(values).__name__}")
    return [whole_number(value, what) for value in values]


def several(values: Any, what: str) -> Iterable[Any]:
    """Return several things as they were given.

    Raises: BadInput for a text, an object, or what cannot be gone through.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise BadInput(f"{what}: a list was expected, not {type(values).__name__}")
    return values


def texts(values: Any, what: str) -> list[str]:
    """Return texts.

    Raises: BadInput for anything else among them, or for what is no list.
    """
    given = list(several(values, what))
    for value in given:
        if not is_text(value):
            raise BadInput(f"{what}: a list of texts was expected, and not {brief(value)} in it")
    return given


def finite(value: Any, what: str) -> float:
    """Return a finite number.

    Raises: BadInput for anything else, flags and what no float holds too.
    """
    try:
        number = float(value) if is_number(value) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadInput(f"{what} is a finite number, not {brief(value)}")
    return number


def members(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object; None: an empty one.

    Raises: BadInput for what is no object.
    """
    if value is not None and not isinstance(value, Mapping):
        raise BadInput(f"{what} is an object, not {type(value).__name__}")
    return dict(value or {})


def fields(value: Any, known: frozenset[str], what: str) -> Mapping[str, Any]:
    """Return an object as it was given.

    Raises: BadInput for what is no object, or has another field than these.
    """
    if not isinstance(value, Mapping):
        raise BadInput(f"{what} is an object, not {type(value).__name__}")
    if not value.keys() <= known:
        raise BadInput(f"{what} has no {spelled(value.keys() - known)}; it has {', '.join(sorted(known))}")
    return value


def spelled(names: Iterable[Any]) -> str:
    """Return names as an error tells them, whatever they are."""
    return ", ".join(sorted(name if name and is_text(name) else brief(name) for name in names))


def flag(value: Any, what: str) -> bool:
    """Return a flag.

    Raises: BadInput for anything but True and False: a text of "false" would count as true.
    """
    if not isinstance(value, bool):
        raise BadInput(f"{what} is True or False, not {brief(value)}")
    return value


def is_text(value: Any) -> bool:
    """Tell whether a value is text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Tell whether a value is a number to reckon with, and no flag."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def request(value: Any) -> str | None:
    """Return a caller's own id of a request.

    Raises: BadInput for what is not a text of 1 to 255 characters.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= 255:
        raise BadInput("a request_id is a text of 1 to 255 characters")
    return value


def moment(value: Any, what: str) -> datetime:
    """Return a moment, in UTC.

    Raises: BadInput for what is no moment, has no time zone, or is in UTC beyond the calendar.
    """
    try:
        return utc(value)
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from None


def lasting(seconds: Any, what: str) -> timedelta:
    """Return a duration that is given in seconds.

    Raises: BadInput for what is no number above 0, or longer than a hundred years.
    """
    if not is_number(seconds) or not 0 < seconds <= _LONGEST:
        raise BadInput(f"{what} is a number of seconds above 0 and up to a hundred years")
    return timedelta(seconds=seconds)
