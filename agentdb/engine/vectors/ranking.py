"""How near vectors are to another, and in which order: the same numbers on both databases.

What a database reckons depends on its library, its compiler and the machine. Here float64 is used, row by row, and the
result is rounded to what float32 can tell apart: then those that are equally near stand by their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum, auto
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentdb.engine.blobs import Vector
from agentdb.errors import BadInput

Ids = NDArray[np.int64]
Keys = NDArray[np.float64]

SHORTEST: Final = 1e-15  # squares of anything shorter, or longer, are no float32 any more
LONGEST: Final = 1e15
DECIMALS: Final = 7
AT_ONCE: Final = 1_024  # rows that are float64 at a time


class Distance(StrEnum):
    """How near two vectors are."""

    cosine = auto()
    l2 = auto()
    inner_product = auto()


def comparable(value: Any, dimension: int | None, what: str = "a vector") -> Vector:
    """Return a vector that can be compared with others.

    Args: dimension: how many numbers it has to have; None: some.
    Raises: BadInput for another length, for what is not finite, and for a vector so long or so short that float32 does
        not hold its square.
    """
    try:
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and refused below
            vector = np.array(value, dtype="<f4")
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"{what}: a sequence of numbers was expected, not {type(value).__name__}") from None
    if vector.ndim != 1 or vector.size != (dimension or vector.size) or not vector.size:
        shape = vector.size if vector.ndim == 1 else f"shape {vector.shape}"
        raise BadInput(f"{what}: {dimension or 'some'} numbers were expected, not {shape}")
    if not np.isfinite(vector).all():
        raise BadInput(f"{what} holds finite numbers only")
    length = norm(vector)
    if length and not SHORTEST <= length <= LONGEST:
        raise BadInput(f"{what} is {length:.3g} long; from {SHORTEST} to {LONGEST}, or 0, was expected: normalise it")
    return vector


def norm(vector: Vector) -> float:
    """Return how long a vector is."""
    return float(np.linalg.norm(vector.astype(np.float64)))


def allowance(dimension: int) -> float:
    """Return how far a float32 reckoning of a product may be off, in parts of the lengths that are multiplied.

    It adds up in several lanes: the error grows with the numbers in each.
    """
    return 6e-8 * (dimension / 4 + 16)


def keys(rows: Vector, query: Vector, distance: Distance) -> Keys:
    """Return, for each row, a number that is less the nearer it is.

    Cosine: the cosine, negated, and 0 for a vector of zeros, which has no direction. L2: the distance. Inner product:
    the product, negated.

    Args: rows: one vector in each row.
    """
    found = np.empty(len(rows))
    for begin in range(0, len(rows), AT_ONCE):
        found[begin : begin + AT_ONCE] = _keys(rows[begin : begin + AT_ONCE].astype(np.float64), query, distance)
    return found


def _keys(rows: Keys, query: Vector, distance: Distance) -> Keys:
    # Sums along a row, not a product of matrices: that one adds up differently in another number of rows.
    exact = query.astype(np.float64)
    if distance is Distance.l2:
        squares: Keys = np.square(rows - exact).sum(axis=1)
        return _as_float32(np.sqrt(squares))
    products: Keys = (rows * exact).sum(axis=1)
    if distance is Distance.inner_product:
        return 0.0 - _as_float32(products)
    lengths: Keys = np.sqrt(np.square(rows).sum(axis=1) * np.square(exact).sum())
    cosines: Keys = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    rounded: Keys = np.round(cosines, DECIMALS)
    return 0.0 - rounded


def _as_float32(numbers: Keys) -> Keys:
    """Return numbers as near as float32 tells them apart."""
    return numbers.astype(np.float32).astype(np.float64)


def order(ids: Ids, reckoned: Keys, count: int) -> NDArray[np.intp]:
    """Return the places of the nearest, the nearest first; those that are equally near stand by their ids."""
    return np.lexsort((ids, reckoned))[:count]


def score(key: float, distance: Distance) -> float:
    """Return how alike two vectors are: the more, the higher.

    Cosine: from -1 to 1. L2: from 1, for the same, towards 0. Inner product: the product.
    """
    if distance is Distance.l2:
        return float(f"{1.0 / (1.0 + key):.7g}")
    return float(f"{-key:.7g}") + 0.0


def apart(key: float, distance: Distance) -> float:
    """Return how far apart two vectors are: for cosine from 0 to 2, for an inner product its negative."""
    return round(1.0 + key, DECIMALS) if distance is Distance.cosine else float(f"{key:.7g}")


def settled(rows: Vector, reckoned: Sequence[float] | Keys, query: Vector, distance: Distance, limit: int) -> bool:
    """Tell whether rows a database thinks nearest hold the nearest ``limit`` for certain.

    Not while the last of them is as near as the limit's, but for what float32 may be off: those it left out could be
    nearer.
    """
    if len(reckoned) <= limit:
        return False
    ordered = np.sort(np.asarray(reckoned))
    off = 2 * allowance(len(query))
    if distance is Distance.l2:
        off *= float(ordered[-1])
    elif distance is Distance.inner_product:
        off *= norm(query) * float(np.sqrt(np.square(rows.astype(np.float64)).sum(axis=1).max()))
    return bool(ordered[-1] - ordered[limit - 1] > off)
