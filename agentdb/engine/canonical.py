"""The canonical value of a column: the same on both databases, whatever each stores it as.

It is None, a whole number, a moment, a text or bytes: money is billionths, UUIDs are text, flags are 0 and 1, JSON is
text with its keys in order, vectors are little-endian float32, secrets are as stored. Moments stay moments, to the
microsecond: to spell one takes ten times as long as to read it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, LargeBinary, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from agentdb.engine.blobs import BytesType, VectorType, unpacked
from agentdb.engine.quantities import MomentType
from agentdb.engine.spelling import FlagType, JsonType, Processor, UuidType, Word

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def canonical(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the expression whose value, as it is fetched, is a column's canonical one.

    Args: column: of the vocabulary's types; one of another type gives what the driver gives.
    """
    kind = column.type
    if isinstance(kind, VectorType):
        return _vector_bytes(column)
    if isinstance(kind, JsonType):
        return _json_text(column)
    for ours, coerced in _KINDS.items():
        if isinstance(kind, ours):
            return type_coerce(column, coerced())
    return type_coerce(column, NullType())


class _Moment(Word):
    def loader(self, dialect: str) -> Processor:
        """Read it, and see that it has a time zone."""
        return _read if dialect == "sqlite" else _zoned


def _read(text: str) -> datetime | str:
    """Return a moment; text that is none stays as it is."""
    try:
        return _zoned(datetime.fromisoformat(text))
    except ValueError:
        return text


def _zoned(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # the driver's first moment of all


class _Json(Word):
    def loader(self, dialect: str) -> Processor:  # noqa: ARG002
        """Put it in order."""
        return _json


def _json(text: str) -> str:
    """Return JSON with its keys in order, its numbers in one form and no space; what cannot be read stays as it is."""
    try:
        value = _decode(text)
        if "-0" in text:
            value = _unsigned(value)
        return _encode(value).decode()
    except (ValueError, OverflowError, RecursionError):
        return text


def _unsigned(value: Any) -> Any:
    """Return a value without negative zeros: jsonb has none."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _unsigned(item) for key, item in value.items()}
    return [_unsigned(item) for item in value] if isinstance(value, list) else value


class _json_text(FunctionElement[str]):  # noqa: N801 (a SQL function)
    """JSON as its text: a driver that decodes by itself gives another value."""

    type = _Json()
    inherit_cache = True


@compiles(_json_text, "postgresql")
def _json_text_postgresql(element: _json_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS text)"


@compiles(_json_text, "sqlite")
def _json_text_sqlite(element: _json_text, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class _Uuid(Word):
    def loader(self, dialect: str) -> Processor | None:
        """Spell it."""
        return str if dialect == "postgresql" else str.lower


class _Flag(Word):
    def loader(self, dialect: str) -> Processor | None:  # noqa: ARG002
        """Return 0 or 1."""
        return int


class _Bytes(Word):
    impl = LargeBinary

    def loader(self, dialect: str) -> Processor:  # noqa: ARG002
        """Return plain bytes."""
        return bytes


class _VectorBytes(Word):
    impl = LargeBinary

    def loader(self, dialect: str) -> Processor:
        """Return little-endian float32."""
        return bytes if dialect == "sqlite" else lambda sent: unpacked(sent).tobytes()


class _vector_bytes(FunctionElement[bytes]):  # noqa: N801 (a SQL function)
    """A vector's own bytes: its text would be rounded twice."""

    type = _VectorBytes()
    inherit_cache = True


@compiles(_vector_bytes, "postgresql")
def _vector_bytes_postgresql(element: _vector_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    return f"vector_send({compiler.process(element.clauses, **kw)})"


@compiles(_vector_bytes, "sqlite")
def _vector_bytes_sqlite(element: _vector_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


_KINDS: Final[dict[type[TypeEngine[Any]], type[Word]]] = {
    MomentType: _Moment,
    UuidType: _Uuid,
    FlagType: _Flag,
    BytesType: _Bytes,
}
