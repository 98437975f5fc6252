"""Keyset pages and their opaque cursors."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Column

from agentdb.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and where the next ones begin.

    Attributes:
        items: the rows, in the list's order.
        next: pass it as ``after`` to get the rows that follow; None when there are none.
    """

    items: list[T]
    next: str | None


def cursor_of(listing: str, values: Sequence[Any]) -> str:
    """Return an opaque cursor: it survives JSON and URLs, and names the place and not the row.

    Args:
        listing: what identifies the list and its order; a cursor of another list is refused.
        values: the sort columns' values and the key's, of the last row seen.
    """
    encoded = msgspec.json.encode([zlib.crc32(listing.encode()), *(_plain(value) for value in values)])
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return str(value) if isinstance(value, Decimal | UUID) else value


def values_of(listing: str, cursor: str, columns: Sequence[Column[Any]]) -> list[Any]:
    """Return the values a cursor holds.

    Raises: BadInput when it is not a cursor of this list.
    """
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        mark, *values = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[Any])
        if mark != zlib.crc32(listing.encode()) or len(values) != len(columns):
            raise BadInput("the cursor belongs to another list; begin again without one")
        return [_python(value, column) for value, column in zip(values, columns, strict=True)]
    except (binascii.Error, ValueError, TypeError, AttributeError, ArithmeticError, msgspec.MsgspecError):
        raise BadInput("not a cursor of this list; begin again without one") from None


def _python(value: Any, column: Column[Any]) -> Any:
    kind = column.type.python_type
    if kind is datetime:
        return datetime.fromisoformat(value)
    return kind(value) if kind in {Decimal, UUID} else value
