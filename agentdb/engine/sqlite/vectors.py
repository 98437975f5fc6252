"""The SQL functions of vectors that SQLite is given by every connection of this library."""

from __future__ import annotations

import sqlite3

import numpy as np

from agentdb import jsons
from agentdb.engine.blobs import Vector
from agentdb.engine.vectors.matrices import Matrices
from agentdb.engine.vectors.ranking import Distance, apart, keys


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
    raw.create_function("agentdb_distance", 3, _distance, deterministic=True)


def _vector(encoded: bytes) -> Vector:
    return np.frombuffer(encoded, dtype="<f4")


def _distance(one: bytes | None, other: bytes | None, distance: str) -> float | None:
    if one is None or other is None or len(one) != len(other):
        return None
    by = Distance(distance)
    return apart(float(keys(_vector(one)[np.newaxis], _vector(other), by)[0]), by)
