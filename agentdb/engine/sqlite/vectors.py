"""The SQL functions of vectors that SQLite is given by every connection of this library."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np

from agentdb import jsons
from agentdb.engine.blobs import Vector
from agentdb.engine.vectors.matrices import READ_AT_ONCE, Matrices, Segment
from agentdb.engine.vectors.ranking import Distance, Ids, Keys


def add_vector_functions(raw: sqlite3.Connection, matrices: Matrices, *, publish: bool) -> None:
    """Let a connection call them.

    Args:
        raw: the connection.
        matrices: of its database.
        publish: whether it reads nothing but what is committed.
    """

    def nearest(collection: int, vector: bytes, distance: str, count: int, among: str | None) -> str:
        query, by = _vector(vector), Distance(distance)
        ids = matrices.nearest(raw, collection, query, by, count, among=among, publish=publish)
        encoded: str = jsons.encode(ids)
        return encoded

    raw.create_function("agentdb_nearest", 5, nearest)
    gathering: Any = _Nearest  # the driver's type knows aggregates of whole numbers alone
    raw.create_aggregate("agentdb_nearest_of", 4, gathering)


class _Nearest:
    """Gathers, of rows' ids and vectors, the JSON list of the ids of those nearest by angle."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._vectors: list[bytes] = []
        self._found: list[tuple[Ids, Keys]] = []
        self._query, self._count = b"", 0

    def step(self, id_: int, vector: bytes, query: bytes, count: int) -> None:
        """Take a row; one whose vector has another length is passed by."""
        if len(vector) != len(query):
            return
        self._query, self._count = query, count
        self._ids.append(id_)
        self._vectors.append(vector)
        if len(self._ids) == READ_AT_ONCE:
            self._reckon()

    def finalize(self) -> str:
        """Return the ids, the nearest first; of equally near ones the latest."""
        self._reckon()
        ids, reckoned = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        encoded: str = jsons.encode(ids[np.lexsort((-ids, reckoned))][: self._count].tolist())
        return encoded

    def _reckon(self) -> None:
        rows = _vector(b"".join(self._vectors)).reshape(len(self._ids), len(self._query) // 4)
        segment = Segment.of(np.array(self._ids, dtype=np.int64), rows)
        self._found.append(segment.candidates(_vector(self._query), Distance.cosine, self._count))
        self._ids, self._vectors = [], []


def _vector(encoded: bytes) -> Vector:
    return np.frombuffer(encoded, dtype="<f4")
