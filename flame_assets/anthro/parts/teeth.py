"""Two dental arches with their gums and a tongue: simple closed bodies floating in the mouth.

The upper arch is half a superellipse 64 mm wide and 46 mm deep, which is as wide and as flat in
front as ICT-FaceKit's (MIT). Fourteen teeth each, in the proportions of average ones (Nelson,
"Wheeler's Dental Anatomy"), are cut into one swept profile. The lower arch is narrower; its
incisors stand 3 mm behind the upper ones and reach 1.0 mm above their edges; 2.6 mm of the upper
ones show below a resting upper lip (Vig and Brundo 1978: 1.9 mm in men, 3.4 mm in women).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import ConvexHull

from flame_assets.anthro.domain.strips import closed_strip

FRONT = 92.9
"""z of the upper incisors' labial face [mm]: 6 mm behind where the lips meet (ICT-FaceKit: 5)."""
_DEPTH, _FLATNESS = 46.0, 1.95
"""Depth [mm] and exponent of the arches' superellipse; 2 is an ellipse."""
_PLACES = np.array([0.0, 0.14, 0.5, 0.86])
"""Of the vertices of a tooth, across it; the first one lies in the groove between two teeth."""
_WIDTHS = {
    "upper": (8.5, 6.5, 7.6, 7.1, 6.6, 10.4, 9.8),
    "lower": (5.3, 5.7, 6.8, 7.0, 7.1, 11.0, 10.5),
}
"""From the central incisor to the second molar [mm]; scaled to the arch's length."""
_USED = 0.93
"""Share of an arch's length that has teeth."""
_GROOVE, _EMBRASURE, _ROUNDING = 0.6, 0.9, 0.2
"""How deep grooves are, how much shorter teeth are at them, and how far their faces curve [mm]."""
_GUM = np.array([0.72, 0.36, 0.36])
_ENAMEL = np.array([0.90, 0.87, 0.79])
_TONGUE = np.array([0.70, 0.35, 0.36])


class Body(NamedTuple):
    """A closed body of the mouth: vertices [mm], triangles, colours, jaw weight 0 or 1."""

    vertices: Float[ndarray, "n 3"]
    triangles: Int[ndarray, "m 3"]
    colours: Float[ndarray, "n 3"]
    jaw: float


# profile of one arch, upper one: (inward from the labial face, down from the gum's top) [mm]
_PROFILE = np.array(
    [(1.2, 0.0), (-0.2, 2.5), (0.1, 4.6), (0.0, 7.0), (0.5, 10.4), (1.6, 11.2), (2.9, 10.4)]
    + [(4.4, 6.5), (5.4, 3.0), (4.2, 0.2)]
)
PROFILE_POINTS = len(_PROFILE)
"""Points of each ring of an arch."""
_IS_ENAMEL = np.array([0, 0, 0.6, 1, 1, 1, 1, 1, 0, 0.0])


class _Row(NamedTuple):
    """One dental arch as it is swept."""

    front: float
    """z of its incisors' labial face [mm]."""
    half_width: float
    """[mm]."""
    top: float
    """y where the gum begins [mm]."""
    sign: float
    """1: the teeth hang down, -1: they stand up."""
    widths: tuple[float, ...]
    """Of the teeth from the midline back."""
    shortening: float
    """How much shorter molars are than incisors."""
    jaw: float


_UPPER = _Row(FRONT, 32.0, -61.4, 1.0, _WIDTHS["upper"], 0.06, 0.0)
_LOWER = _Row(FRONT - 3.0, 30.2, -83.8, -1.0, _WIDTHS["lower"], 0.13, 1.0)


def _sweep(row: _Row) -> tuple[Float[ndarray, "c 2"], Float[ndarray, " c"], Float[ndarray, " c"]]:
    """x, z along the teeth from molar to molar, the place across each tooth, and along the arch."""
    angle = np.linspace(0, 0.5 * np.pi, 4000)
    x = row.half_width * np.sin(angle) ** (2 / _FLATNESS)
    z = row.front - _DEPTH * (1 - np.cos(angle) ** (2 / _FLATNESS))
    arc = np.r_[0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
    edges = np.r_[0, np.cumsum(row.widths)] * (_USED * arc[-1] / np.sum(row.widths))
    at = np.concatenate([edges[:-1, None] + _PLACES * np.diff(edges)[:, None], [[edges[-1]] * 4]])
    at = np.ravel(at)[: 4 * len(row.widths) + 1]
    place = np.r_[np.tile(_PLACES, len(row.widths)), 0.0]
    half = np.stack([np.interp(at, arc, x), np.interp(at, arc, z)], 1)
    left = half[:0:-1] * [-1, 1]
    return (
        np.concatenate([left, half]),
        np.r_[place[:0:-1], place],
        np.r_[-at[:0:-1], at] / at[-1],
    )


def _arch(row: _Row) -> Body:
    """The profile swept along an arch, rounded at each tooth."""
    centre, place, along = _sweep(row)
    count = len(centre)
    tangent = np.gradient(centre, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    inward = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    groove = (place == 0.0).astype(float)
    bulge = np.abs(2 * place - 1) ** 2
    molar = np.clip((np.abs(along) - 0.45) / 0.3, 0, 1)
    length = 1 - row.shortening * molar + 0.05 * np.exp(-(((np.abs(along) - 0.33) / 0.05) ** 2))
    deep, down = _PROFILE[:, 0], _PROFILE[:, 1]
    labial = _IS_ENAMEL * (deep < 2)
    lingual = _IS_ENAMEL * (deep > 2)
    depth = deep[None] * (1 + 0.55 * molar[:, None])
    depth += (_GROOVE * groove + _ROUNDING * bulge)[:, None] * (labial - lingual)
    drop = down[None] * length[:, None]
    shorter = _EMBRASURE * (1 - 0.5 * molar) * (0.75 * groove + 0.25 * bulge)
    drop -= shorter[:, None] * (down[None] > 10)
    vertices = np.stack(
        [
            centre[:, :1] + inward[:, :1] * depth,
            row.top - row.sign * drop,
            centre[:, 1:] + inward[:, 1:] * depth,
        ],
        2,
    )
    n = len(_PROFILE)
    ids = np.arange(count * n).reshape(count, n)
    strips = [closed_strip(ids[k], ids[k + 1]) for k in range(count - 1)]
    ends = vertices[[0, -1]].mean(axis=1)
    caps = []
    for ring, apex, flip in ((ids[0], count * n, False), (ids[-1], count * n + 1, True)):
        cap = np.stack([ring, np.full(n, apex), np.roll(ring, -1)], 1)
        caps.append(cap[:, ::-1] if flip else cap)
    triangles = np.concatenate([*strips, *caps])
    points = np.concatenate([vertices.reshape(-1, 3), ends])
    mix = np.r_[np.tile(_IS_ENAMEL, count), 1.0, 1.0][:, None]
    colour = _GUM * (1 - mix) + _ENAMEL * mix
    shade = np.r_[np.repeat(groove, n) * np.tile(_IS_ENAMEL, count) * 0.12, 0, 0][:, None]
    return Body(points, _outward(points, triangles), colour * (1 - shade), row.jaw)


def _outward(
    vertices: Float[ndarray, "n 3"], triangles: Int[ndarray, "m 3"]
) -> Int[ndarray, "m 3"]:
    """Orient a consistently wound closed body so that its volume is positive."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    volume = np.einsum("fi,fi->", a, np.cross(b, c))
    return triangles[:, ::-1].copy() if volume < 0 else triangles


def _tongue() -> Body:
    """A flattened ellipsoid in the lower arch, its tip behind the lower incisors."""
    points = [np.array([[0.0, 0.0, 1.0]])]
    for k, polar in enumerate(np.linspace(0, np.pi, 12)[1:-1]):
        count = 2 * max(4, round(np.pi * np.sin(polar) / 0.29))
        turn = 2 * np.pi * (np.arange(count) + 0.5 * (k % 2)) / count
        ring = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn)]
        points.append(np.stack([*ring, np.full(count, np.cos(polar))], 1))
    unit = np.concatenate([*points, [[0.0, 0.0, -1.0]]])
    triangles = ConvexHull(unit).simplices
    a, b, c = (unit[triangles[:, k]] for k in range(3))
    inward = np.einsum("fi,fi->f", np.cross(b - a, c - a), a + b + c) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    triangles = triangles[np.lexsort(triangles.T[::-1])].astype(np.int64)
    x, y, z = unit.T
    furrow = np.exp(-((x / 0.16) ** 2)) * np.clip(y, 0, 1)
    vertices = np.stack([16.0 * x, -78.2 + 4.9 * y - 1.0 * furrow, 63.6 + 20.5 * z], 1)
    return Body(vertices, triangles, np.broadcast_to(_TONGUE, vertices.shape).copy(), 1.0)


def mouth_bodies() -> tuple[Body, Body, Body]:
    """Upper arch (skull), lower arch and tongue (jaw)."""
    return (
        _arch(_UPPER),
        _arch(_LOWER),
        _tongue(),
    )
