"""Edges of lids and lips as rows of weights on vertices, whose gaps carried shapes keep.

A lid's edge is what an eye sees of it from its centre: at each of a few horizontal angles the
lowest spot of the upper lid and the highest of the lower one. It needs no labels of the mesh.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import coo_array, csr_array

from mica_ext.shape_transfer.face_surface import LEFT_LIDS, RIGHT_LIDS, FaceSurface
from pacofr.faces.face_mesh.topology import INNER_LIPS, LEFT_EYE, RIGHT_EYE

COLUMNS = 13
"""Angles at which lids are paired, corners left out."""
LID_EYES = ((LEFT_LIDS, LEFT_EYE, 0), (RIGHT_LIDS, RIGHT_EYE, 1))
"""Label, ring of points and row of `FaceSurface.eyes`."""
OUTER, INNER = 0, 8
"""Corners within a ring."""
REACH = 1.6
"""Lids lie within this many distances of the ring from the eye's centre."""


class Edges(NamedTuple):
    """Pairs of spots on the upper and the lower edge of one opening."""

    upper: csr_array
    """[pairs, V]; rows sum to 1, or are empty where there is no edge."""
    lower: csr_array

    def gaps(self, vertices: Float64[np.ndarray, "V 3"]) -> Float64[np.ndarray, "pairs 3"]:
        """From the lower to the upper edge [m]."""
        return self.upper @ vertices - self.lower @ vertices

    def known(self) -> Bool[np.ndarray, " pairs"]:
        """Pairs of which both edges are there."""
        return (np.diff(self.upper.indptr) > 0) & (np.diff(self.lower.indptr) > 0)


def lid_edges(surface: FaceSurface, eye: int) -> Edges:
    """Edges of the lids of an eye, a row of `LID_EYES`."""
    label, ring, row = LID_EYES[eye]
    spots = surface.spots[ring] - surface.eyes[row]
    z = spots.mean(0) / np.linalg.norm(spots.mean(0))
    x = spots[INNER] - spots[OUTER]
    x -= (x @ z) * z
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    y *= np.sign(y @ (spots[9:].mean(0) - spots[1:8].mean(0)))
    local = (surface.vertices - surface.eyes[row]) @ np.stack([x, y, z], 1)
    outer, inner = (float(np.arctan2(spots[k] @ x, spots[k] @ z)) for k in (OUTER, INNER))
    angles = np.linspace(outer, inner, COLUMNS + 2)[1:-1]
    near = np.linalg.norm(local, axis=1) < REACH * np.linalg.norm(spots, axis=1).mean()
    near &= local[:, 2] > 0
    edges = np.concatenate([surface.triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    edges = np.unique(np.sort(edges, 1), axis=0)
    rows = []
    for side in (1, -1):
        own = near & (surface.sides == side * label)
        rows.append(_edge_rows(local, edges[own[edges].all(1)], angles, side))
    return Edges(*rows)


def _edge_rows(
    local: Float64[np.ndarray, "V 3"],
    edges: Int64[np.ndarray, "n 2"],
    angles: Float64[np.ndarray, " columns"],
    side: int,
) -> csr_array:
    """Where edges of the mesh cross each angle, the crossing nearest to the opening."""
    turn = np.arctan2(local[:, 0], local[:, 2])
    entries: list[tuple[float, int, int]] = []
    for column, angle in enumerate(angles):
        first, last = turn[edges[:, 0]] - angle, turn[edges[:, 1]] - angle
        crossing = np.flatnonzero(first * last < 0)
        if not len(crossing):
            continue
        along = first[crossing] / (first[crossing] - last[crossing])
        a, b = edges[crossing].T
        spots = (1 - along[:, None]) * local[a] + along[:, None] * local[b]
        best = int((side * np.arctan2(spots[:, 1], spots[:, 2])).argmin())
        entries += [(1 - along[best], column, a[best]), (along[best], column, b[best])]
    values, rows, columns = zip(*entries, strict=True) if entries else ((), (), ())
    return coo_array((values, (rows, columns)), (len(angles), len(local))).tocsr()


def lip_edges(surface: FaceSurface) -> Edges:
    """The anchored points where the lips meet, above and below."""

    def rows(points: Int64[np.ndarray, " n"]) -> csr_array:
        anchors = surface.anchors.select(points)
        corners = surface.anchor_corners[points]
        numbers = np.repeat(np.arange(len(points)), 3)
        shape = (len(points), len(surface.vertices))
        return coo_array((anchors.barycentric.ravel(), (numbers, corners.ravel())), shape).tocsr()

    return Edges(rows(INNER_LIPS[19:10:-1]), rows(INNER_LIPS[1:10]))


def mouth_width(surface: FaceSurface) -> float:
    """Between the inner corners of the lips [m]."""
    return float(np.linalg.norm(surface.spots[INNER_LIPS[0]] - surface.spots[INNER_LIPS[10]]))
