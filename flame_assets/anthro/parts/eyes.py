"""The eyeballs: spheres with a corneal bulge, fine rings at pupil and iris."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import ConvexHull

CENTRE = np.array([31.2, 0.0, 73.6])
"""Centre of the left eyeball [mm]."""
RADIUS = 11.8
"""Radius of the globe [mm]; adult axial length about 24 mm with the cornea."""
CORNEA = 0.45
"""Height of the corneal bulge [mm]."""
CORNEA_EDGE = 0.52
PUPIL_EDGE = 0.17
"""Polar angles of the iris' and the pupil's edge [rad]: an iris 11.7 mm across."""
_RINGS = (
    [(0.09, 14), (0.17, 28), (0.20, 28), (0.27, 28), (0.35, 28), (0.43, 42), (0.49, 42)]
    + [(0.525, 42), (0.60, 42), (0.70, 42), (0.83, 42), (0.98, 42), (1.15, 42), (1.34, 36)]
    + [(1.55, 32), (1.78, 28), (2.02, 24), (2.28, 20), (2.54, 14), (2.82, 8)]
)
"""Polar angle [rad] and number of points; rings at the edges of pupil and iris are aligned."""


class Eyeball(NamedTuple):
    """One left eyeball: vertices [mm], triangles, angle of each vertex from the optical axis."""

    vertices: Float[ndarray, "n 3"]
    triangles: Int[ndarray, "m 3"]
    polar: Float[ndarray, " n"]


def eyeball() -> Eyeball:
    """Rings about the optical axis, joined by their convex hull (Delaunay on the sphere)."""
    points, angles = [np.array([[0.0, 0.0, 1.0]])], [np.zeros(1)]
    for polar, count in _RINGS:
        turn = 2 * np.pi * np.arange(count) / count
        ring = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn)]
        points.append(np.stack([*ring, np.full(count, np.cos(polar))], 1))
        angles.append(np.full(count, polar))
    points.append(np.array([[0.0, 0.0, -1.0]]))
    unit, polar = np.concatenate(points), np.concatenate([*angles, [np.pi]])
    triangles = ConvexHull(unit).simplices
    a, b, c = unit[triangles[:, 0]], unit[triangles[:, 1]], unit[triangles[:, 2]]
    inward = np.einsum("fi,fi->f", np.cross(b - a, c - a), a + b + c) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    triangles = triangles[np.lexsort(triangles.T[::-1])]
    bulge = CORNEA * np.clip(1 - (polar / CORNEA_EDGE) ** 2, 0, 1)
    return Eyeball(CENTRE + unit * (RADIUS + bulge)[:, None], triangles, polar)


def colours(polar: Float[ndarray, " n"]) -> Float[ndarray, "n 3"]:
    """Pupil, brown iris with a darker rim, off-white sclera; RGB in [0, 1]."""
    stops = [0.0, 0.17, 0.2, 0.3, 0.43, 0.49, 0.525, 0.8, 1.3]
    red = [0.03, 0.03, 0.30, 0.42, 0.36, 0.20, 0.90, 0.93, 0.86]
    green = [0.03, 0.03, 0.19, 0.27, 0.24, 0.14, 0.89, 0.91, 0.74]
    blue = [0.03, 0.03, 0.11, 0.16, 0.15, 0.11, 0.89, 0.90, 0.72]
    return np.stack([np.interp(polar, stops, channel) for channel in (red, green, blue)], 1)
