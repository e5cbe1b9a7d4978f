"""The auricle: a height field over a plate, its back, and the seam to the hole in the head.

Plate coordinates (a, b) [mm]: a up along the ear, b backward from the line where the ear meets the
cheek. Outline, ridges (helix, antihelix with both crura, crus of the helix), hollows (concha with
cymba and cavum, triangular fossa, intertragic notch) and bumps (tragus, antitragus, lobe) are typed
from the anatomy of an adult ear 62 mm long and 36 mm wide, standing off the head by 25 degrees.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.interpolate import CubicSpline
from scipy.spatial import Delaunay, KDTree

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.domain.strips import closed_strip

HOLE_CENTRE = np.array([132.5, -16.0])
HOLE_COUNT = 44
_OUTLINE_COUNT = 88
_SPACING = 1.75
_LIP = 1.2
"""Spacing inside the ear, and the rounded edge of its rim [mm]."""
_PIVOT = np.array([72.4, -16.5, 2.5])
"""Where the plate's origin lies on the head [mm]: just above the tragus' front."""
_TILT, _OUTWARD = np.radians(12.0), np.radians(25.0)

UP = np.array([0.11, np.cos(_TILT), -np.sin(_TILT)])  # leans out with the widening head
UP = UP / np.linalg.norm(UP)
BACK = np.array(
    [np.sin(_OUTWARD), -np.sin(_TILT) * np.cos(_OUTWARD), -np.cos(_TILT) * np.cos(_OUTWARD)]
)
OUT = np.cross(UP, BACK)
OUT = OUT * np.sign(OUT[0]) / np.linalg.norm(OUT)

# fmt: off
_OUTLINE = np.array([  # from the top backward, down to the lobe, up the front
    (33.0, 16.5), (32.0, 24.0), (27.0, 30.5), (19.0, 34.3), (9.5, 35.2), (0.0, 33.2), (-8.5, 29.0),
    (-15.5, 24.0), (-21.5, 19.3), (-26.5, 15.0), (-29.2, 10.5), (-28.8, 6.6), (-25.5, 3.4),
    (-20.0, 2.0), (-12.0, 0.8), (-4.0, 0.0), (4.0, 0.0), (12.0, 0.3), (19.0, 1.8), (25.5, 5.0),
    (30.5, 10.0),
])
_HELIX = [
    (7.5, 6.0), (12.0, 3.6), (19.0, 4.2), (25.0, 7.4), (29.2, 12.2), (30.6, 17.5),
    (29.2, 23.6), (24.8, 28.8), (18.0, 32.0), (9.5, 32.8), (1.0, 31.0), (-7.0, 27.0),
    (-13.5, 22.6),
]
_CRUS = [(9.0, 4.6), (5.0, 6.2), (2.8, 9.4), (2.2, 12.6)]
_ANTIHELIX = [(-13.0, 12.2), (-9.0, 17.6), (-3.0, 21.4), (4.0, 23.2), (10.5, 22.2)]
_UPPER_CRUS = [(10.5, 22.2), (16.5, 21.6), (23.0, 19.4)]
_LOWER_CRUS = [(10.5, 22.2), (14.2, 17.4), (15.6, 10.6)]
# fmt: on


class _Ridge(NamedTuple):
    """A ridge of Gaussian profile along a polyline; heights at its two ends."""

    path: list[tuple[float, float]]
    width: float
    first: float
    last: float


_RIDGES = (
    _Ridge(_HELIX, 1.75, 3.4, 2.0),
    _Ridge(_CRUS, 1.6, 2.6, 2.8),
    _Ridge(_ANTIHELIX, 2.3, 3.2, 3.9),
    _Ridge(_UPPER_CRUS, 2.4, 3.6, 1.6),
    _Ridge(_LOWER_CRUS, 1.7, 3.6, 2.6),
)


class _Bump(NamedTuple):
    """A Gaussian bump or hollow: centre (a, b), widths along a and b, height."""

    a: float
    b: float
    wide_a: float
    wide_b: float
    height: float


_BUMPS = (
    _Bump(-3.5, 2.8, 3.6, 2.2, 4.6),  # tragus
    _Bump(-13.2, 10.4, 2.6, 2.6, 2.6),  # antitragus
    _Bump(-10.2, 5.6, 2.2, 1.9, -2.2),  # intertragic notch
    _Bump(-21.0, 9.5, 6.0, 6.0, 1.4),  # lobe
    _Bump(18.0, 15.4, 3.4, 3.0, -1.0),  # triangular fossa
    _Bump(11.0, 28.0, 8.0, 1.6, -0.6),  # scapha
)
_CONCHA = np.array(
    [(-8.6, 7.0), (-10.0, 11.5), (-6.5, 16.3), (0.5, 19.4), (8.0, 18.6), (12.2, 14.0)]
    + [(12.0, 8.4), (6.0, 6.2), (0.0, 5.6)]
)
_CONCHA_DEPTH = 7.5


def hole(guard: bool = False) -> Float[ndarray, "k 2"]:
    """The ear's hole in the domain, from the top backward; with `guard`, a ring around it."""
    turn = np.linspace(0, 2 * np.pi, HOLE_COUNT, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    along = 24.0 * np.sign(c) * np.abs(c) ** 0.8
    across = 12.2 * np.sign(s) * np.abs(s) ** 0.7
    if guard:
        along, across = along + 3.4 * c, across + 3.2 * s
    tilt = _TILT
    u = across * np.cos(tilt) + along * np.sin(tilt)
    v = along * np.cos(tilt) - across * np.sin(tilt)
    return HOLE_CENTRE + np.stack([u, v], 1)


def _smooth_path(points: list[tuple[float, float]], count: int) -> Float[ndarray, "n 2"]:
    p = np.array(points)
    s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))]
    return CubicSpline(s, p)(np.linspace(0, s[-1], count))


def _outline() -> Float[ndarray, "n 2"]:
    """Outline from the top backward; the lowest point half way, as on the hole's ring."""
    closed = np.vstack([_OUTLINE, _OUTLINE[:1]])
    s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))]
    dense = CubicSpline(s, closed, bc_type="periodic")(np.linspace(0, s[-1], 800))
    s = np.r_[0, np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))]
    bottom, half = s[np.argmin(dense[:, 0])], _OUTLINE_COUNT // 2
    at = np.r_[
        np.linspace(0, bottom, half, endpoint=False),
        np.linspace(bottom, s[-1], half, endpoint=False),
    ]
    return np.stack([np.interp(at, s, dense[:, k]) for k in (0, 1)], 1)


def _inset(curve: Float[ndarray, "n 2"], distance: float) -> Float[ndarray, "n 2"]:
    """A closed curve moved inward."""
    tangent = np.roll(curve, -1, axis=0) - np.roll(curve, 1, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    inward = np.sign(np.sum(normal * (curve.mean(axis=0) - curve)))
    return curve + inward * distance * normal


def _height(plate: Float[ndarray, "n 2"], outline: Float[ndarray, "k 2"]) -> Float[ndarray, " n"]:
    """Height of the ear's face over its plate [mm]."""
    height = np.zeros(len(plate))
    for ridge in _RIDGES:
        path = _smooth_path(ridge.path, 120)
        distance, nearest = KDTree(path).query(plate)
        top = ridge.first + (ridge.last - ridge.first) * nearest / (len(path) - 1)
        height = np.maximum(height, top * np.exp(-0.5 * (distance / ridge.width) ** 2))
    concha = _smooth_path([*map(tuple, _CONCHA), tuple(_CONCHA[0])], 200)
    depth = KDTree(concha).query(plate)[0]
    depth = np.where(capsule.inside_polygon(plate, concha), depth, -depth)
    bowl = np.clip((depth + 0.8) / 5.0, 0, 1)
    bowl = bowl * bowl * (3 - 2 * bowl)
    crus = KDTree(_smooth_path(_CRUS, 60)).query(plate)[0]
    crus = np.exp(-0.5 * (crus / 2.0) ** 2)
    cavum = 1 / (1 + np.exp((plate[:, 0] - 3.0) / 1.5))
    height -= bowl * (1 - 0.75 * crus) * (5.5 + (_CONCHA_DEPTH - 5.5) * cavum)
    for bump in _BUMPS:
        a = (plate[:, 0] - bump.a) / bump.wide_a
        b = (plate[:, 1] - bump.b) / bump.wide_b
        height += bump.height * np.exp(-0.5 * (a * a + b * b))
    edge = np.clip(KDTree(outline).query(plate)[0] / 1.6, 0, 1)
    return height * np.sqrt(edge * (2 - edge))


def _place(plate: Float[ndarray, "n 2"], height: Float[ndarray, " n"]) -> Float[ndarray, "n 3"]:
    """Plate coordinates and height -> space [mm]."""
    return _PIVOT + plate[:, :1] * UP + plate[:, 1:] * BACK + height[:, None] * OUT


class Ear(NamedTuple):
    """The left ear: vertices [mm] after the hole's ring, triangles over ring + vertices, modes."""

    vertices: Float[ndarray, "n 3"]
    triangles: Int[ndarray, "m 3"]
    """Ids below HOLE_COUNT are the hole's ring."""
    modes: Float[ndarray, "n 3 3"]
    """Displacement per mm of length, width and protrusion (of the helix)."""


def ear(ring: Float[ndarray, "k 3"]) -> Ear:
    """The ear on the hole `ring` of the head [mm]."""
    outline = _outline()
    n = len(outline)
    half = n // HOLE_COUNT
    sparse = outline[::half]
    root = np.clip((7.0 - sparse[:, 1]) / 5.0, 0, 1)
    root = root * root * (3 - 2 * root)
    centre = np.array([3.0, 15.0])
    inset = sparse + (centre - sparse) * (1.6 / np.linalg.norm(centre - sparse, axis=1))[:, None]
    lobe = np.clip((-14.0 - sparse[:, 0]) / 8.0, 0, 1)
    rim = _place(sparse, np.zeros(HOLE_COUNT))
    thickness = np.minimum(3.0 - 0.8 * lobe, np.clip(0.33 * inset[:, 1] - 0.8, 0.2, 3.0))
    behind = _place(inset, -thickness)
    first = (1 - root)[:, None] * behind + root[:, None] * (0.7 * rim + 0.3 * ring)
    second = first + (ring - first) * (0.45 + 0.05 * root)[:, None]

    step = _SPACING * np.sqrt(3) / 2
    rows = np.arange(-30.0, 34.0, step)
    grid = np.concatenate(
        [
            np.stack([np.full(25, a), (np.arange(25) + 0.5 * (k % 2)) * _SPACING - 2], 1)
            for k, a in enumerate(rows)
        ]
    )
    inside = capsule.inside_polygon(grid, outline)
    lip = _inset(outline, _LIP)
    inside &= KDTree(outline).query(grid)[0] > _LIP + 0.6 * _SPACING
    plate = np.concatenate([outline, lip, grid[inside]])
    face = Delaunay(plate).simplices.astype(np.int64)
    face = face[capsule.inside_polygon(plate[face].mean(axis=1), outline)]
    a, b, c = (plate[face[:, k]] for k in range(3))
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    outward = np.sign(np.dot(np.cross(UP, BACK), OUT))
    face = np.where((turned * outward < 0)[:, None], face[:, ::-1], face)
    front = _place(plate, _height(plate, outline))

    vertices = np.concatenate([second, first, front])
    k = HOLE_COUNT
    ids = np.arange(k)
    triangles = np.concatenate(
        [
            closed_strip(ids + k, ids),
            closed_strip(ids + 2 * k, ids + k),
            closed_strip(3 * k + np.arange(n), ids + 2 * k),
            face + 3 * k,
        ]
    )
    local = np.stack([(vertices - _PIVOT) @ UP, (vertices - _PIVOT) @ BACK], 1)
    free = np.clip(KDTree(ring).query(vertices)[0] / 8.0, 0, 1)
    stretch = [local[:, :1] / 62 * UP, local[:, 1:] / 36 * BACK, local[:, 1:] / 36 * OUT]
    modes = np.stack(stretch, 2) * free[:, None, None]
    return Ear(vertices, triangles, modes)
