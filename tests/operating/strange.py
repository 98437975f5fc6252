"""Rows of every table with the strangest values that its columns take, made from the columns themselves."""

from __future__ import annotations

import sqlite3
import struct
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Table

from agentdb.base import Entity
from agentdb.engine.blobs import BytesType, VectorType
from agentdb.engine.quantities import MomentType, MoneyType, WholeType
from agentdb.engine.schema.renumbering import numbered
from agentdb.engine.spelling import ChoiceType, DigestType, FlagType, JsonType, TextType, UuidType
from agentdb.operating.transferring.groups import groups

ROWS: Final = 6
IDS: Final = (1, 2, 3, 1000, 2**31, 2**53 + 1)
TEXTS: Final = (
    "\t\n\r\\N\\.",
    "é😀\u2028\u202e",
    "''\"; DROP",
    " trailing ",
    "NULL",
    "a\u0301\ufeff\U0010ffff",
)
MOMENTS: Final = (
    "0001-01-01T00:00:00.000001+00:00",
    "1969-12-31T23:59:59.999999+00:00",
    "1970-01-01T00:00:00.000000+00:00",
    "2026-02-28T23:59:59.000001+00:00",
    "2262-04-12T00:00:00.123456+00:00",
    "9999-12-31T23:59:59.999998+00:00",
)
JSONS: Final = (
    '{"z":-0.0,"a":[1.0,1,0.1,1e-7,-5,null,true],"é😀":"\\u2028\\"\\\\"}',
    '{"big":9223372036854775807,"small":-9223372036854775808,"float":10000000000000000.0}',
    '{"":{"b":{},"a":[]},"nested":[[[[]]]]}',
    '{"b":1,"aa":2,"A":3}',
    '{"text":"\\n\\t\\\\u0041"}',
    "{}",
)
MONEY: Final = (2**63 - 1, 1, 0, 999_999_999, 123_456_789_012, 10**18)
FLOATS: Final = (0.1, -1 / 3, 1e-38, -0.0, 3.4028234e38, 1.17549435e-38)
DIMENSION: Final = 3
# Where a CHECK wants something of its own.
_OWN: Final[dict[tuple[str, str], Callable[[int], Any]]] = {
    ("api_keys", "digest"): lambda place: None if place % 2 else f"{place:064x}",
    ("api_keys", "kind"): lambda place: "provider" if place % 2 else "access",
    ("api_keys", "secret"): lambda place: bytes(range(256)) if place % 2 else None,
    ("hosts", "name"): lambda place: f"host-{place}",
    ("models", "is_default"): lambda place: int(place == 0),
    ("run_session", "subagent_id"): lambda place: -place,
    ("spend_limits", "covers"): lambda _: "self",
    ("users", "username"): lambda place: f"user_{place}",
    ("variables", "secret"): lambda place: bytes(range(256)) if place % 2 else None,
    ("variables", "sensitive"): lambda place: place % 2,
    ("variables", "value"): lambda place: None if place % 2 else TEXTS[place],
    ("vector_collections", "dimension"): lambda _: DIMENSION,
}


def fill(path: Path) -> None:
    """Store strange rows in every table of a migrated file."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        tables = [table for group in groups(Entity.metadata.tables.values()) for table in group]
        for table in tables:
            if table.name in {"schema_version", "execution_changes"}:
                continue  # the one is there, and the other is written by triggers
            own = {column.name for column in numbered(table)}
            columns = [column for column in table.columns if column.name not in own]
            names = ", ".join(f'"{column.name}"' for column in columns)
            for place in range(ROWS):
                values = [_value(table, column, place) for column in columns]
                try:
                    database.execute(
                        f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join("?" * len(values))})', values
                    )
                except sqlite3.IntegrityError as error:
                    raise AssertionError(f"{table.name}: {error}; see _OWN") from error
        database.commit()
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def _value(table: Table, column: Column[Any], place: int) -> Any:
    own = _OWN.get((table.name, column.name))
    if own is not None:
        return own(place)
    if column.nullable and place == ROWS - 1:
        return None
    for key in column.foreign_keys:
        if key.column.table is table:
            return IDS[place - 1] if place else None  # its own kind, a row before
        return IDS[place] if column.primary_key else IDS[(place + 1) % ROWS]
    for kind, make in _MADE.items():
        if isinstance(column.type, kind):
            return make(column, place)
    return IDS[place]


def _whole(column: Any, place: int) -> int:
    return place + 1 if column.type.bits < 64 else IDS[place]


def _json(column: Any, place: int) -> str:
    return '[1,"é"]' if "[]" in str(getattr(column.server_default, "arg", "")) else JSONS[place]


def _vector(column: Any, place: int) -> bytes:
    length = column.type.length or DIMENSION
    return struct.pack(f"<{length}f", *(FLOATS * 1000)[place : place + length])


def _choice(column: Any, place: int) -> str:
    words = [str(word) for word in column.type.enum]
    return words[place % len(words)]


def _text(column: Any, place: int) -> str:
    length = column.type.length
    return (TEXTS[place] + "x" * 300)[:length] if length else TEXTS[place] * 100


_MADE: Final[dict[type[Any], Callable[[Any, int], Any]]] = {
    MoneyType: lambda _, place: MONEY[place],
    WholeType: _whole,
    MomentType: lambda _, place: MOMENTS[place],
    UuidType: lambda _, place: str(uuid.UUID(int=(2**128 - 1) // (place + 1))),
    FlagType: lambda _, place: place % 2,
    JsonType: _json,
    VectorType: _vector,
    BytesType: lambda _, place: bytes(range(256)) * (place + 1) + bytes([place]),
    ChoiceType: _choice,
    DigestType: lambda _, place: f"{place:064x}",
    TextType: _text,
}
