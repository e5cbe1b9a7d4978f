"""Two dental arches with their gums and a tongue: simple closed bodies floating in the mouth.

The arch is a half ellipse 56 mm wide and 46 mm deep (adult arches: 50 to 60 and 45 to 52 mm
outside), sixteen teeth each; grooves between them are cut into one swept profile. The lower
incisors stand 3 mm behind the upper ones and reach 1.1 mm above their edges; 2.6 mm of the upper
ones show below a resting upper lip (Vig and Brundo 1978: 1.9 mm in men, 3.4 mm in women).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import ConvexHull

from flame_assets.anthro.domain.strips import closed_strip

FRONT = 90.2
"""z of the upper incisors' labial face [mm]: 13 mm behind the lip's most forward point."""
_HALF_WIDTH, _DEPTH = 27.5, 44.0
_TEETH = 14
_PER_TOOTH = 4
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


def _arch(front: float, top: float, upward: bool, jaw: float) -> Body:
    """One arch: the profile swept along a half ellipse from molar to molar."""
    count = _TEETH * _PER_TOOTH + 1
    dense = np.linspace(-0.44 * np.pi, 0.44 * np.pi, 2000)
    x, z = _HALF_WIDTH * np.sin(dense), front - _DEPTH * (1 - np.cos(dense))
    s = np.r_[0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
    at = np.linspace(0, s[-1], count)
    x, z = np.interp(at, s, x), np.interp(at, s, z)
    tangent = np.stack([np.gradient(x), np.gradient(z)], 1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    inward = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    phase = np.arange(count) % _PER_TOOTH
    groove = np.where(phase == 0, 1.0, 0.0)  # vertices between two teeth
    along = np.abs(np.linspace(-1, 1, count))
    molar = np.clip((along - 0.45) / 0.3, 0, 1)
    length = 1 - 0.06 * molar + 0.05 * np.exp(-(((along - 0.42) / 0.06) ** 2))
    deep, down = _PROFILE[:, 0], _PROFILE[:, 1]
    on_tooth = _IS_ENAMEL
    depth = deep[None] * (1 + 0.55 * molar[:, None]) + 0.55 * groove[:, None] * on_tooth
    depth -= 0.9 * (groove[:, None] * on_tooth) * (deep[None] > 2)
    drop = down[None] * length[:, None] - 0.7 * groove[:, None] * (down[None] > 10)
    sign = -1.0 if upward else 1.0
    vertices = np.stack(
        [
            x[:, None] + inward[:, :1] * depth,
            top - sign * drop,
            z[:, None] + inward[:, 1:] * depth,
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
    mix = np.r_[np.tile(on_tooth, count), 1.0, 1.0][:, None]
    colour = _GUM * (1 - mix) + _ENAMEL * mix
    shade = np.r_[np.repeat(groove, n) * np.tile(on_tooth, count) * 0.12, 0, 0][:, None]
    return Body(points, _outward(points, triangles), colour * (1 - shade), jaw)


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
    vertices = np.stack([16.0 * x, -78.2 + 4.9 * y - 1.0 * furrow, 61.6 + 20.5 * z], 1)
    return Body(vertices, triangles, np.broadcast_to(_TONGUE, vertices.shape).copy(), 1.0)


def mouth_bodies() -> tuple[Body, Body, Body]:
    """Upper arch (skull), lower arch and tongue (jaw)."""
    return (
        _arch(FRONT, -61.4, False, 0.0),
        _arch(FRONT - 3.0, -83.2, True, 1.0),
        _tongue(),
    )
