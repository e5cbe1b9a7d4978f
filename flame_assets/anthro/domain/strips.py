"""Triangle strips between rows of vertices."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray


def open_strip(a: Int[ndarray, " n"], b: Int[ndarray, " n"]) -> Int[ndarray, "m 3"]:
    """Triangles between two rows of equal length: (a0, a1, b0), (a1, b1, b0), ..."""
    first = np.stack([a[:-1], a[1:], b[:-1]], 1)
    second = np.stack([a[1:], b[1:], b[:-1]], 1)
    return np.concatenate([first, second]).astype(np.int64)


def closed_strip(a: Int[ndarray, " n"], b: Int[ndarray, " m"]) -> Int[ndarray, "k 3"]:
    """Triangles between two rings; `a` may have a whole multiple of `b`'s count."""
    factor = len(a) // len(b)
    if factor == 1:
        return open_strip(np.r_[a, a[0]], np.r_[b, b[0]])
    triangles = []
    for j in range(len(b)):
        fan = [a[(j * factor + k - factor // 2) % len(a)] for k in range(factor + 1)]
        triangles += [(fan[k], fan[k + 1], b[j]) for k in range(factor)]
        triangles.append((fan[-1], b[(j + 1) % len(b)], b[j]))
    return np.array(triangles, dtype=np.int64)


def fan(ring: Int[ndarray, " n"], apex: int) -> Int[ndarray, "m 3"]:
    """Triangles from each edge of an open row to `apex`."""
    return np.stack([ring[:-1], np.full(len(ring) - 1, apex), ring[1:]], 1).astype(np.int64)
