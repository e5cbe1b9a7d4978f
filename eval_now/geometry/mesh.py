"""Triangle meshes, and triangles of polygons."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Mesh(NamedTuple):
    """A triangle mesh in any length unit; vertices that no triangle uses are allowed."""

    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]


def triangulate_fans(
    corners: Int[np.ndarray, " N"], sizes: Int[np.ndarray, " P"]
) -> Int[np.ndarray, "F 3"]:
    """Split polygons into triangles (c0, c1, c2), (c0, c2, c3) and so on.

    Args:
        corners: vertex indices of all polygons one after the other.
        sizes: number of corners of each polygon, 3 or more.
    """
    if (sizes == 3).all():
        return corners.reshape(-1, 3)
    counts = sizes - 2
    first = np.repeat(np.cumsum(sizes) - sizes, counts)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([corners[first], corners[second], corners[second + 1]], axis=1)
