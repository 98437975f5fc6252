"""The column vocabulary of the models: each word is one meaning, stored on both databases.

Words are annotations (``id: Mapped[Key]``) or, where they need an argument, functions (``ref("users.id", CASCADE)``).
"""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeVar

from sqlalchemy import ForeignKey, Identity, text
from sqlalchemy.orm import MappedColumn, mapped_column

from agentdb import clock
from agentdb.engine.blobs import SecretType, Vector, VectorType
from agentdb.engine.functions import flag_default, moment_now, random_mark, writing_transaction
from agentdb.engine.quantities import MomentType, MoneyType, WholeType, billionths
from agentdb.engine.spelling import KEY, ChoiceType, DigestType, FlagType, JsonType, TextType, UuidType

OnDelete = Literal["CASCADE", "SET NULL", "RESTRICT"]
E = TypeVar("E", bound=StrEnum)

CASCADE: Final = "CASCADE"
SET_NULL: Final = "SET NULL"
RESTRICT: Final = "RESTRICT"


def uuid7() -> uuid.UUID:
    """Return a new UUID that sorts by the millisecond it was made in: an identifier, not a secret.

    Source: RFC 9562, section 5.7.
    """
    # Not from the operating system: a call of it costs as much as the rest of a row. Python reseeds after a fork.
    noise = random.getrandbits(74)
    moment = time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF
    return uuid.UUID(int=moment << 80 | 0x7 << 76 | (noise >> 62) << 64 | 0b10 << 62 | noise & 0x3FFF_FFFF_FFFF_FFFF)


Key = Annotated[int, mapped_column(KEY, Identity(always=False), primary_key=True, sort_order=-10)]
Whole = Annotated[int, mapped_column(WholeType())]
Flag = Annotated[bool, mapped_column(FlagType())]
Uuid = Annotated[uuid.UUID, mapped_column(UuidType(), default=uuid7, unique=True)]
Moment = Annotated[datetime, mapped_column(MomentType())]
Money = Annotated[Decimal, mapped_column(MoneyType())]
Json = Annotated[Any, mapped_column(JsonType())]
Name = Annotated[str, mapped_column(TextType(255))]
Prose = Annotated[str, mapped_column(TextType())]
Digest = Annotated[str, mapped_column(DigestType())]
Secret = Annotated[bytes, mapped_column(SecretType())]
Vec = Annotated[Vector, mapped_column(VectorType())]
# Moves at every update too: who follows a table sees each row again after it changed.
Tx = Annotated[int, mapped_column(WholeType(), server_default=writing_transaction(), onupdate=writing_transaction())]
# Given once, and never by a caller: tells one database from all others.
Mark = Annotated[str, mapped_column(TextType(32), default=lambda: secrets.token_hex(16), server_default=random_mark())]

# The engine binds its own clock to these two; SQLAlchemy's sessions call clock.now.
Created = Annotated[
    datetime,
    mapped_column(
        MomentType(), default=clock.now, server_default=moment_now(), info={"clock": "insert"}, sort_order=900
    ),
]
Updated = Annotated[
    datetime,
    mapped_column(
        MomentType(),
        default=clock.now,
        onupdate=clock.now,
        server_default=moment_now(),
        info={"clock": "update"},
        sort_order=901,
    ),
]


def ref(
    target: str, on_delete: OnDelete, *, index: bool = True, primary_key: bool = False, cycle: bool = False
) -> MappedColumn[Any]:
    """Return a column that refers to another table's column, by its name.

    Its index serves lists by that row, and that row's deletion.

    Args:
        target: ``table.column``.
        on_delete: what becomes of this row when that one goes.
        index: False where another index begins with it.
        primary_key: whether it belongs to this table's own key.
        cycle: True where that table refers back to this one: PostgreSQL adds the constraint once both are there.
    """
    return mapped_column(
        WholeType(),
        ForeignKey(target, ondelete=on_delete, use_alter=cycle),
        index=index or None,
        primary_key=primary_key,
    )


def choice(enum: type[E], default: E | None = None) -> MappedColumn[Any]:
    """Return a column that holds one of an enum's words."""
    return mapped_column(ChoiceType(enum), default=default, server_default=default and text(f"'{default}'"))


def json(default: Callable[[], Any], name: str | None = None) -> MappedColumn[Any]:
    """Return a JSON column whose default is an empty object or list: pass ``dict`` or ``list``.

    Args: name: the column's, where an attribute cannot have it (``metadata`` is SQLAlchemy's own).
    """
    return mapped_column(name, JsonType(), default=default, server_default=text("'{}'" if default is dict else "'[]'"))


def whole(default: int | None = None, bits: Literal[16, 32, 64] = 64) -> MappedColumn[Any]:
    """Return a column of whole numbers."""
    return mapped_column(
        WholeType(bits), default=default, server_default=None if default is None else text(str(default))
    )


def flag(default: bool) -> MappedColumn[Any]:
    """Return a column that is true or false."""
    return mapped_column(FlagType(), default=default, server_default=flag_default(default))


def money(default: int = 0) -> MappedColumn[Any]:
    """Return a column of dollars."""
    return mapped_column(MoneyType(), default=Decimal(default), server_default=text(str(billionths(default))))


def words(default: str | None = None, length: int | None = None, *, unique: bool | None = None) -> MappedColumn[Any]:
    """Return a text column, of at most ``length`` characters."""
    return mapped_column(
        TextType(length),
        default=default,
        unique=unique,
        server_default=None if default is None else text(f"'{default}'"),
    )


def vector(length: int) -> MappedColumn[Any]:
    """Return a column of vectors that all have ``length`` numbers."""
    return mapped_column(VectorType(length))
