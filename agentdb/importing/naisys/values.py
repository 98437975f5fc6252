"""Values as the source writes them, as ours; or the reason why a row cannot be carried."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from agentdb import jsons
from agentdb.engine.quantities import NANO, billionths
from agentdb.errors import BadInput

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_SPACE: Final = uuid.UUID("6d1f6a52-6f6e-5d0a-9a35-4f0f5b6f9a11")  # of what the source has no UUID for
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NAME: Final = 255


def moment(value: Any) -> datetime:
    """Return a moment, in either of the text forms, or in milliseconds; without a time zone UTC is meant.

    Raises: BadInput.
    """
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _EPOCH + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        pass
    raise BadInput(f"a moment is expected, not {str(value)[:40]!r}")


def maybe(convert: Callable[[Any], T], value: Any) -> T | None:
    """Return a value that may be null."""
    return None if value is None else convert(value)


def dollars(value: Any) -> Decimal:
    """Return an amount, to nine places; null is nothing.

    Raises: BadInput.
    """
    if value is None:
        return Decimal(0).quantize(NANO)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadInput(f"an amount of dollars from 0 is expected, not {str(value)[:40]!r}")
    amount = Decimal(repr(value))
    if amount < 10**10:
        amount = amount.quantize(NANO)
    billionths(amount)
    return amount


def whole(value: Any) -> int:
    """Return a count; null is none.

    Raises: BadInput.
    """
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or value < 0:
        raise BadInput(f"a whole number from 0 is expected, not {str(value)[:40]!r}")
    return value


def flag(value: Any) -> bool:
    """Return whether something is so: 0 and 1, or the words."""
    return text(value).strip().lower() in {"1", "true"}


def text(value: Any) -> str:
    """Return text, with a mark for each NUL in it; null is empty."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")


def name(value: Any) -> str:
    """Return text of at most 255 characters: of a longer one the beginning."""
    return text(value)[:_LONGEST_NAME]


def word(enum: type[E], value: Any, renamed: Mapping[str, E] | None = None) -> E:
    """Return one of a few words.

    Raises: BadInput for another one.
    """
    told = text(value)
    if renamed and told in renamed:
        return renamed[told]
    try:
        return enum(told)
    except ValueError:
        raise BadInput(f"{told[:40]!r} is not one of {', '.join(enum)}") from None


def mapping(value: Any) -> dict[str, Any]:
    """Return a JSON object; nothing is an empty one.

    Raises: BadInput for text that is none.
    """
    if not (value if isinstance(value, bytes) else text(value).strip()):
        return {}
    try:
        found = jsons.decode(text(value).encode())
        jsons.encode(found)  # refused here, and not with a whole batch
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise BadInput("a JSON object is expected") from error
    if not isinstance(found, dict):
        raise BadInput("a JSON object is expected")
    return found


def identifier(value: Any, instead: str) -> uuid.UUID:
    """Return a UUID; for text that is none, always the same one.

    Args: instead: what tells the row from all others, where it has no text.
    """
    told = text(value).strip()
    try:
        return uuid.UUID(told)
    except ValueError:
        return uuid.uuid5(_SPACE, told or instead)
