"""How bytes are stored: plain ones, secrets, and vectors (pgvector's own type, or little-endian float32)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import LargeBinary
from sqlalchemy.types import TypeEngine, UserDefinedType

from agentdb.engine.spelling import Processor, Word
from agentdb.errors import BadInput

Vector = NDArray[np.float32]


class BytesType(Word):
    """Bytes."""

    impl = LargeBinary
    on_postgresql = LargeBinary()
    on_sqlite = LargeBinary()

    def binder(self, dialect: str) -> Processor:  # noqa: ARG002
        """Refuse what is not bytes."""
        return _bytes

    def loader(self, dialect: str) -> Processor:  # noqa: ARG002
        """Return bytes."""
        return bytes


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise BadInput(f"bytes were expected, not {type(value).__name__}")
    return bytes(value)


class SecretType(BytesType):
    """A secret as stored: key id, nonce, ciphertext and tag; the plain value never reaches a database."""


class _PgVector(UserDefinedType[Any]):
    cache_ok = True

    def __init__(self, length: int | None) -> None:
        self.length = length

    def get_col_spec(self, **_: Any) -> str:
        return f"vector({self.length})" if self.length else "vector"


class VectorType(Word):
    """Float32 numbers: pgvector's vector, or little-endian bytes; without a length, the collection checks it."""

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def spelling(self, dialect: str) -> TypeEngine[Any]:
        """Return BLOB, or pgvector's type."""
        return LargeBinary() if dialect == "sqlite" else _PgVector(self.length)

    def condition(self, column: str, dialect: str) -> str | None:
        """SQLite counts the bytes."""
        return f"length({column}) = {4 * self.length}" if dialect == "sqlite" and self.length else None

    def binder(self, dialect: str) -> Processor:
        """Check length and finiteness."""
        length = self.length

        def check(value: Any) -> Vector:
            try:
                with np.errstate(over="ignore"):  # what float32 does not hold is infinite there, and refused below
                    vector = np.array(value, dtype="<f4")  # a copy: a stored row does not change with the caller's
            except (TypeError, ValueError, OverflowError):
                raise BadInput("a vector is a sequence of numbers") from None
            if vector.ndim != 1 or not 1 <= vector.size <= 16_000:
                raise BadInput(f"a vector has one dimension of 1 to 16,000 numbers, not shape {vector.shape}")
            if length is not None and vector.size != length:
                raise BadInput(f"a vector of {length} numbers was expected, not {vector.size}")
            if not np.isfinite(vector).all():
                raise BadInput("a vector holds finite numbers only")
            return vector

        return (lambda value: check(value).tobytes()) if dialect == "sqlite" else (lambda value: packed(check(value)))

    def compare_values(self, x: Any, y: Any) -> bool:
        """Tell whether a session has nothing to store: arrays are compared as a whole."""
        return x is y or (x is not None and y is not None and np.array_equal(x, y))

    def loader(self, dialect: str) -> Processor | None:
        """Return a float32 array."""
        return (lambda value: np.frombuffer(value, dtype="<f4")) if dialect == "sqlite" else _array


def packed(vector: Vector) -> bytes:
    """Return a vector as pgvector's binary form has it.

    As an array, many of them would be taken for one array of two dimensions.
    """
    return struct.pack(">HH", vector.size, 0) + vector.astype(">f4").tobytes()


def unpacked(encoded: bytes) -> Vector:
    """Return the vector of pgvector's binary form."""
    return np.frombuffer(encoded, dtype=">f4", offset=4).astype("<f4")


def _array(value: Any) -> Vector:
    """Return a vector that came from a row, or from what was bound."""
    return unpacked(value) if isinstance(value, bytes) else value
