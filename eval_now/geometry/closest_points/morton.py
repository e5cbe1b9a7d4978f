"""Order of points along a space-filling curve."""

import numpy as np
from jaxtyping import Float, Int


def morton_order(points: Float[np.ndarray, "P 3"]) -> Int[np.ndarray, " P"]:
    """Indices that sort points along a Morton (Z-order) curve of 1024 cells a side.

    Neighbours in this order are near each other in space, so that a search may start from the
    result of the point before.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    cells = ((points - low) / max(float((high - low).max()), 1e-30) * 1023).astype(np.int64)
    x, y, z = (_spread_bits(cells[:, k]) for k in range(3))
    return np.argsort(x | y << 1 | z << 2, kind="stable")


def _spread_bits(value: Int[np.ndarray, " P"]) -> Int[np.ndarray, " P"]:
    """Put two zero bits between each of the lowest 10 bits."""
    value = (value | (value << 16)) & 0x030000FF
    value = (value | (value << 8)) & 0x0300F00F
    value = (value | (value << 4)) & 0x030C30C3
    return (value | (value << 2)) & 0x09249249
