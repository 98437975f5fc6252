"""The vectors of collections as matrices in memory: what SQLite searches, since it has no index of vectors.

A matrix is read once and then kept, as long as what it was read from is what is there: the collection's revision, which
triggers count up whenever a vector is changed or removed by whomever, and its largest id, which tells of those that
were added. Both are read in the transaction that asks, so that a snapshot is answered from what it sees.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agentdb import jsons
from agentdb.engine.blobs import Vector
from agentdb.engine.vectors.ranking import Distance, Ids, Keys, allowance, keys, norm, order

MOST_BYTES: Final = 1 << 29  # in all collections that are kept
READ_AT_ONCE: Final = 2_048  # rows
FEW: Final = 0.05  # of a collection's rows: fewer are read one by one when the matrix is not there yet

_STATE: Final = (
    "SELECT c.revision, c.dimension, (SELECT max(v.id) FROM vectors v WHERE v.collection_id = c.id) "
    "FROM vector_collections c WHERE c.id = ?"
)
_MANY: Final = "SELECT count(*) FROM vectors WHERE collection_id = ?"
_ROWS: Final = (
    "SELECT id, embedding FROM vectors INDEXED BY ix_vectors__collection_id "
    "WHERE collection_id = ? AND id > ? AND embedding IS NOT NULL ORDER BY id"
)
_NAMED: Final = (
    "SELECT id, embedding FROM vectors WHERE id IN (SELECT value FROM json_each(?)) "
    "AND collection_id = ? AND embedding IS NOT NULL ORDER BY id"
)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Vectors that were read together."""

    ids: Ids  # ascending
    rows: Vector  # one vector in each
    lengths: Vector

    @classmethod
    def of(cls, ids: Ids, rows: Vector) -> Segment:
        """Return a segment of these vectors."""
        return cls(ids, rows, np.sqrt(np.einsum("ij,ij->i", rows, rows)))

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.ids.nbytes + self.rows.nbytes + self.lengths.nbytes

    def among(self, wanted: Ids) -> Segment:
        """Return those with these ids."""
        places = np.isin(self.ids, wanted).nonzero()[0]
        return Segment(self.ids[places], self.rows[places], self.lengths[places])

    def candidates(self, query: Vector, distance: Distance, count: int) -> tuple[Ids, Keys]:
        """Return the nearest ``count``, and those that float32 cannot tell from them, with their exact keys."""
        rough, off = self._rough(query, distance)
        if count < len(rough):
            least = np.partition(rough, count - 1)[count - 1]
            places = (rough <= least + 2 * off).nonzero()[0]
        else:
            places = np.arange(len(rough))
        return self.ids[places], keys(self.rows[places], query, distance)

    def _rough(self, query: Vector, distance: Distance) -> tuple[Keys, float]:
        products = (self.rows @ query).astype(np.float64)
        longest = float(self.lengths.max(initial=0.0)) * norm(query)
        off = allowance(len(query))
        if distance is Distance.inner_product:
            return -products, off * longest
        lengths = self.lengths.astype(np.float64)
        if distance is Distance.l2:
            # Squares: nearer is less here too.
            squares = np.square(lengths) - 2 * products
            return squares, 2 * off * (float(lengths.max(initial=0.0)) ** 2 + longest + norm(query) ** 2)
        both = lengths * norm(query)
        return -np.divide(products, both, out=np.zeros_like(products), where=both > 0), off + 1e-7


def joined(segments: Sequence[Segment]) -> Segment:
    """Return segments that follow one another as one."""
    if len(segments) == 1:
        return segments[0]
    return Segment(
        np.concatenate([segment.ids for segment in segments]),
        np.concatenate([segment.rows for segment in segments]),
        np.concatenate([segment.lengths for segment in segments]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """The vectors of a collection at one moment."""

    revision: int
    last: int  # the largest id
    segments: tuple[Segment, ...]

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return sum(segment.bytes for segment in self.segments)

    def followed_by(self, added: Sequence[Segment], last: int) -> Matrix:
        """Return this matrix and what was added since.

        Segments grow together like the places of a counter, so that each row is moved a few times only.
        """
        segments = [*self.segments, *([joined(added)] if added else [])]
        while len(segments) > 1 and len(segments[-2].ids) <= 2 * len(segments[-1].ids):
            segments[-2:] = [joined(segments[-2:])]
        return Matrix(self.revision, last, tuple(segments))


class Matrices:
    """The matrices of one database file, for all its connections and their threads.

    Args: most_bytes: what is kept at most; the collections that were asked for least lately are let go.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[int, Matrix] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[int, threading.Lock] = {}

    def nearest(
        self,
        raw: sqlite3.Connection,
        collection: int,
        query: Vector,
        distance: Distance,
        count: int,
        *,
        among: str | None,
        publish: bool,
    ) -> list[int]:
        """Return the ids of a collection's nearest vectors, the nearest first.

        Args:
            raw: within the statement that asks: what it sees is what is searched.
            collection: its id.
            query: as long as the collection's vectors.
            distance: which.
            count: how many.
            among: the JSON list of the ids to search; None: all.
            publish: whether what is read may be kept: not what may be rolled back.
        """
        state = raw.execute(_STATE, (collection,)).fetchone()
        if state is None or state[2] is None or state[1] != len(query):
            return []
        wanted = None if among is None else np.array(jsons.decode(among), dtype=np.int64)
        if wanted is not None and not len(wanted):
            return []
        segments = self._segments(raw, collection, state, wanted, among, publish=publish)
        found = [segment.candidates(query, distance, count) for segment in segments]
        if not found:
            return []
        ids, reckoned = (np.concatenate(parts) for parts in zip(*found, strict=True))
        nearest: list[int] = ids[order(ids, reckoned, count)].tolist()
        return nearest

    def _segments(
        self,
        raw: sqlite3.Connection,
        collection: int,
        state: tuple[int, int, int],
        wanted: Ids | None,
        among: str | None,
        *,
        publish: bool,
    ) -> Iterator[Segment]:
        revision, dimension, last = state
        matrix = self._kept_for(collection, revision, last)
        segments: Iterable[Segment]
        if matrix is not None:
            segments = matrix.segments
        else:
            many = raw.execute(_MANY, (collection,)).fetchone()[0]
            if wanted is not None and len(wanted) <= max(FEW * many, 100):
                segments = _read(raw, _NAMED, (among, collection), dimension)
            elif many * dimension * 4 > self._most:  # read anew each time, and never held as a whole
                segments = _read(raw, _ROWS, (collection, 0), dimension)
            else:
                segments = self._read_for(raw, collection, state, publish=publish).segments
        for segment in segments:
            yield segment if wanted is None else segment.among(wanted)

    def _kept_for(self, collection: int, revision: int, last: int) -> Matrix | None:
        with self._lock:
            kept = self._kept.get(collection)
            if kept is None or kept.revision != revision or kept.last != last:
                return None
            self._kept.move_to_end(collection)
            return kept

    def _read_for(
        self, raw: sqlite3.Connection, collection: int, state: tuple[int, int, int], *, publish: bool
    ) -> Matrix:
        """Return the matrix of this state: what is kept and what was added since, or all of it, read anew."""
        revision, dimension, last = state
        with self._lock:
            reading = self._reading.setdefault(collection, threading.Lock())
        with reading:  # whoever asks meanwhile has it then
            with self._lock:
                kept = self._kept.get(collection)
            if kept is not None and kept.revision == revision and kept.last == last:
                return kept
            if kept is None or kept.revision != revision or kept.last > last:
                kept = Matrix(revision, 0, ())
            matrix = kept.followed_by([*_read(raw, _ROWS, (collection, kept.last), dimension)], last)
            if publish:
                self._keep(collection, matrix)
        return matrix

    def _keep(self, collection: int, matrix: Matrix) -> None:
        with self._lock:
            there = self._kept.get(collection)
            if there is not None and (there.revision, there.last) > (matrix.revision, matrix.last):
                return  # asked from an older snapshot
            self._kept[collection] = matrix
            self._kept.move_to_end(collection)
            while sum(kept.bytes for kept in self._kept.values()) > self._most and len(self._kept) > 1:
                self._kept.popitem(last=False)


def _read(raw: sqlite3.Connection, text: str, given: Sequence[object], dimension: int) -> Iterator[Segment]:
    cursor = raw.execute(text, given)
    try:
        while rows := cursor.fetchmany(READ_AT_ONCE):
            ids = np.array([row[0] for row in rows], dtype=np.int64)
            vectors = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4").reshape(len(rows), dimension)
            yield Segment.of(ids, vectors)
    finally:
        cursor.close()
