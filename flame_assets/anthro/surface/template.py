"""The template of the half head: a triangulation of the domain with loops where skin needs them.

Fixed points first (lid rings, lip rings, ear ring, midlines, neck), Poisson-disc darts after the
size field, weighted Laplacian relaxation with Delaunay in the conformal plane map, holes removed.
Deterministic: fixed seed, no dependence on the shape.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import Delaunay, KDTree

from flame_assets.anthro.domain import capsule
from flame_assets.anthro.parts import ears, lids, mouth
from flame_assets.anthro.surface.control_set import ControlSet

_SEED = 0
_ROUNDS = 24
_LID_OFFSETS = (1.4, 3.0, 4.8)
_LIP_SHARES = (0.22, 0.55, 1.0, 1.32)
"""Lip rings, as shares of the distance from the seam to the vermilion border."""
BORDER_RING = 2
"""Index of the lip ring that lies on the vermilion border."""
_NECK_COUNT = 27


@dataclass(frozen=True, kw_only=True)
class HalfTemplate:
    """Places [n, 2] in the domain, triangles, and the vertex ids of the loops."""

    places: Float[ndarray, "n 2"]
    triangles: Int[ndarray, "m 3"]
    lid: Int[ndarray, " 32"]
    seam: Int[ndarray, " 21"]
    lip_rings: tuple[Int[ndarray, " 21"], ...]
    ear: Int[ndarray, " k"]
    border: Float[ndarray, "p 2"]
    """Closed polygon of the half vermilion in the capsule."""


def _offset(
    curve: Float[ndarray, "n 2"], distance: float | Float[ndarray, " n"], closed: bool
) -> Float[ndarray, "n 2"]:
    """The curve moved to its left by `distance`."""
    if closed:
        tangent = np.roll(curve, -1, axis=0) - np.roll(curve, 1, axis=0)
    else:
        tangent = np.gradient(curve, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return curve + normal * np.reshape(distance, (-1, 1))


def _vermilion_distance(
    controls: ControlSet, seam: Float[ndarray, "21 2"]
) -> Float[ndarray, " 21"]:
    """Distance in the domain from each seam point to the vermilion border, at least 3.2 mm."""

    def border(names: tuple[str, ...]) -> Float[ndarray, "n 2"]:
        return capsule.locate(np.stack([controls.at(name) for name in names]))

    corner = np.array([[mouth.SEAM_U, mouth.SEAM_V]])
    upper = np.vstack([border(("ls", "cph", "vbU1", "vbU2")), corner])
    lower = np.vstack([border(("li", "vbL1", "vbL2")), corner])
    n = mouth.COLUMNS
    above = np.interp(seam[: n + 1, 0], upper[:, 0], upper[:, 1]) - seam[: n + 1, 1]
    below = seam[n:, 1] - np.interp(seam[n:, 0], lower[:, 0], lower[:, 1])
    tangent = np.gradient(seam, axis=0)
    slant = np.abs(tangent[:, 0]) / np.linalg.norm(tangent, axis=1)
    distance = np.maximum(np.r_[above[:-1], below] * np.clip(slant, 0.3, 1), 3.2)
    return np.convolve(np.pad(distance, 1, mode="edge"), [0.2, 0.6, 0.2], "valid")


class _SizeField:
    """Wanted edge length [mm of the domain] at a place: fine at eyes, mouth, nose, ears."""

    def __init__(self, lid: Float[ndarray, "n 2"], seam: Float[ndarray, "m 2"]) -> None:
        self._lid, self._seam = KDTree(lid), KDTree(seam)

    def __call__(self, places: Float[ndarray, "n 2"]) -> Float[ndarray, " n"]:
        u, v = places[:, 0], places[:, 1]
        eye = self._lid.query(places)[0]
        lips = self._seam.query(places)[0]
        nose = np.hypot(np.maximum(np.abs(u) - 15, 0), np.maximum(np.abs(v + 38) - 20, 0))
        ear = np.hypot(u - ears.HOLE_CENTRE[0], 0.6 * (v - ears.HOLE_CENTRE[1]))
        ear = np.maximum(ear - 12, 0)
        face = np.hypot(np.maximum(u - 45, 0), np.maximum(np.abs(v + 30) - 75, 0))
        size = np.minimum.reduce(
            [1.75 + 0.11 * eye, 1.7 + 0.12 * lips, 2.0 + 0.12 * nose, 3.6 + 0.13 * ear]
        )
        return np.clip(np.minimum(size, 3.4 + 0.06 * face), 1.4, 9.5)


def _march(size: _SizeField, u: float, start: float, stop: float) -> Float[ndarray, "n 2"]:
    """Points up a meridian, spaced by the size field, ends included."""
    v = [start]
    while v[-1] < stop:
        v.append(v[-1] + size(np.array([[u, v[-1]]]))[0])
    spaced = start + (np.array(v) - start) * (stop - start) / (v[-1] - start)
    return np.stack([np.full(len(spaced), u), spaced], 1)


def half_template(controls: ControlSet) -> HalfTemplate:
    """Build the template; about a second."""
    lid = capsule.locate(lids.margin())
    seam, ear = mouth.seam(), ears.hole()
    size = _SizeField(lid, seam)
    loops = [lid, *(_offset(lid, d, True) for d in _LID_OFFSETS), seam]
    border = _vermilion_distance(controls, seam)
    rings = []
    for share in _LIP_SHARES:
        ring = _offset(seam, share * border, False)
        ring[[0, -1], 0] = 0.0
        rings.append(ring)
    loops += [*rings, ear, ears.hole(guard=True)]
    ids, start = [], 0
    for loop in loops:
        ids.append(np.arange(start, start + len(loop)))
        start += len(loop)

    below = _march(size, 0.0, capsule.V_BOTTOM, rings[-1][-1, 1])[:-1]
    above = _march(size, 0.0, rings[-1][0, 1], capsule.V_TOP)[1:]
    back = _march(size, capsule.U_BACK, capsule.V_BOTTOM, capsule.V_TOP)[:-1]
    around = np.linspace(0, capsule.U_BACK, _NECK_COUNT + 2)[1:-1]
    neck = np.stack([around, np.full(_NECK_COUNT, capsule.V_BOTTOM)], 1)
    outline = [below, above, back, neck]
    fixed = np.concatenate([*loops, *outline])
    on_outline = np.zeros(len(fixed), bool)
    on_outline[start:] = True

    mouth_hole = np.vstack([[[-3.0, seam[0, 1]]], seam, [[-3.0, seam[-1, 1]]]])
    holes = (lid, mouth_hole, ear)
    places = np.concatenate([fixed, _darts(fixed, holes, size, lid)])
    places, triangles = _relax(places, len(fixed), size)

    centres = places[triangles].mean(axis=1)
    dropped = np.zeros(len(triangles), bool)
    for hole in holes:
        dropped |= capsule.inside_polygon(centres, hole)
    a, b, c = (capsule.flatten(places)[triangles[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    longest = np.max([np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    outline_vertex = np.r_[on_outline, np.zeros(len(places) - len(fixed), bool)]
    hull = outline_vertex[triangles].all(axis=1)
    dropped |= (np.abs(area) < 1e-3 * longest**2) & hull
    triangles = np.where((area < 0)[:, None], triangles[:, ::-1], triangles)[~dropped]
    edge = rings[BORDER_RING]
    return HalfTemplate(
        places=places,
        triangles=triangles,
        lid=ids[0],
        seam=ids[4],
        lip_rings=tuple(ids[5 : 5 + len(rings)]),
        ear=ids[5 + len(rings)],
        border=np.vstack([edge, [[-3.0, edge[-1, 1]], [-3.0, edge[0, 1]]]]),
    )


def _darts(
    fixed: Float[ndarray, "n 2"],
    holes: tuple[ndarray, ...],
    size: _SizeField,
    lid: Float[ndarray, "m 2"],
) -> Float[ndarray, "d 2"]:
    """Poisson-disc points with the size field's spacing, away from the fixed ones."""
    rng = np.random.default_rng(_SEED)
    everywhere = rng.uniform((0.0, capsule.V_BOTTOM), (capsule.U_BACK, capsule.V_TOP), (60000, 2))
    face = rng.uniform((0.0, -110.0), (65.0, 35.0), (40000, 2))
    places = np.concatenate([everywhere, face])
    for hole in holes:
        places = places[~capsule.inside_polygon(places, hole)]
    h = size(places)
    u, v = places[:, 0], places[:, 1]
    room = (u > 0.55 * h) & (u < capsule.U_BACK - 0.55 * h) & (v > capsule.V_BOTTOM + 0.6 * h)
    places, h = places[room], h[room]
    points = capsule.embed(places)
    free = KDTree(capsule.embed(fixed)).query(points)[0] > 0.75 * h
    free &= KDTree(lid).query(places)[0] > 2.6
    places, h, points = places[free], h[free], points[free]
    tree, taken = KDTree(points), np.zeros(len(points), bool)
    chosen = []
    for i in rng.permutation(len(points)):
        if not taken[i]:
            chosen.append(i)
            taken[tree.query_ball_point(points[i], 0.88 * h[i])] = True
    return places[chosen]


def _relax(
    places: Float[ndarray, "n 2"], fixed: int, size: _SizeField
) -> tuple[Float[ndarray, "n 2"], Int[ndarray, "m 3"]]:
    """Even out the free points; returns places and the last Delaunay triangulation."""
    plane, places = capsule.flatten(places), places.copy()
    for _ in range(_ROUNDS):
        triangles = Delaunay(plane).simplices
        edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        edges = np.concatenate([edges, edges[:, ::-1]])
        points, h = capsule.embed(places), size(places)
        length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
        weight = (2 * length / (h[edges[:, 0]] + h[edges[:, 1]])) ** 2
        total = np.bincount(edges[:, 0], weight, len(plane))
        pull = [
            np.bincount(edges[:, 0], weight * plane[edges[:, 1], axis], len(plane)) / total
            for axis in (0, 1)
        ]
        plane[fixed:] += 0.5 * (np.stack(pull, 1)[fixed:] - plane[fixed:])
        places[fixed:] = capsule.unflatten(plane[fixed:])
    return places, Delaunay(plane).simplices.astype(np.int64)
