"""Which triangle of one head corresponds to each triangle and vertex of another.

The source is aligned to the target by a similarity of the anchored points and warped by a smoothing
spline through them (a biharmonic spline in space, kernel |r|; Wahba 1990); teeth and tongue are
fitted into the target's by their extents. Then the nearest source triangle that belongs to the same
part, lies on the same side of mouth and lids and faces the same way is taken.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64
from scipy.spatial import KDTree

from mica_ext.fitting.geometry.closest_points import closest_weights
from mica_ext.shape_transfer.face_surface import SKIN, FaceSurface

WARP_SMOOTHING = 1e-2
"""Of the spline, in distances of the outer eye corners."""
NEIGHBOURS = 24
"""Triangles tried for each point."""
CHUNK = 4096
"""Points at a time."""
OTHER_SIDE, OTHER_WAY = 1.0, 0.1
"""Costs of a triangle on the other side of an opening, and of one that faces away, in distances of
the outer eye corners."""
MATCHED = 0.06
"""Distance of a triangle from its match, likewise, at which confidence has fallen by 1 / e."""
MIN_CONFIDENCE = 1e-3


class Similarity(NamedTuple):
    """target = scale * rotation @ source + translation."""

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]

    def __call__(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """The points moved."""
        return self.scale * points @ self.rotation.T + self.translation


class SurfaceMap(NamedTuple):
    """Rows of the source's triangles for what lies on the target."""

    similarity: Similarity
    triangles: Int64[np.ndarray, " Ft"]
    """Of each target triangle."""
    confidence: Float64[np.ndarray, " Ft"]
    """Of its match, up to 1: low on parts that the source lacks, such as eye sockets."""
    vertex_triangles: Int64[np.ndarray, " Vt"]
    """Of each target vertex, with the weights of its nearest spot; eyeballs have no meaning."""
    vertex_weights: Float64[np.ndarray, "Vt 3"]


def map_surfaces(source: FaceSurface, target: FaceSurface) -> SurfaceMap:
    """The correspondence of two heads."""
    similarity = _similarity(source.spots, target.spots)
    aligned = similarity(source.spots)
    vertices = similarity(source.vertices)
    skin = source.parts == SKIN
    vertices[skin] = _spline(vertices[skin], aligned, target.spots, target.unit)
    for part in set(source.parts.tolist()) - {SKIN}:
        _fit_extent(vertices, source.parts == part, target.vertices[target.parts == part])
    centroids = target.vertices[target.triangles].mean(1)
    normals = _normals(target.vertices, target.triangles)
    sides = _common_side(target)
    found, weights = _nearest(
        source, vertices, centroids, target.triangle_parts, normals, sides, target.unit
    )
    confidence = _confidence(source, vertices, centroids, normals, found, weights, target.unit)
    vertex_normals = np.zeros_like(target.vertices)
    for corner in range(3):
        np.add.at(vertex_normals, target.triangles[:, corner], normals)
    vertex_triangles, weights = _nearest(
        source, vertices, target.vertices, target.parts, vertex_normals, target.sides, target.unit
    )
    return SurfaceMap(similarity, found, confidence, vertex_triangles, weights)


def _confidence(
    source: FaceSurface,
    vertices: Float64[np.ndarray, "Vs 3"],
    centroids: Float64[np.ndarray, "Ft 3"],
    normals: Float64[np.ndarray, "Ft 3"],
    found: Int64[np.ndarray, " Ft"],
    weights: Float64[np.ndarray, "Ft 3"],
    unit: float,
) -> Float64[np.ndarray, " Ft"]:
    """By distance to the match, moved to `vertices`, and by the angle of the normals."""
    triangles = source.triangles[found]
    spots = np.einsum("fc,fcx->fx", weights, vertices[triangles])
    distance = np.linalg.norm(spots - centroids, axis=1)
    others = _normals(vertices, triangles)
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(normals, axis=1)
    cosine = (others * normals).sum(1) / np.maximum(lengths, 1e-30)
    near = np.exp(-np.square(distance / (MATCHED * unit)))
    return np.maximum(near * cosine, MIN_CONFIDENCE)


def _similarity(a: Float64[np.ndarray, "n 3"], b: Float64[np.ndarray, "n 3"]) -> Similarity:
    """Of least squares from a to b (Umeyama 1991)."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    u, s, v = np.linalg.svd((b - mean_b).T @ (a - mean_a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    rotation = u * signs @ v
    scale = float((s * signs).sum() / np.square(a - mean_a).sum())
    return Similarity(scale, rotation, mean_b - scale * rotation @ mean_a)


def _spline(
    points: Float64[np.ndarray, "n 3"],
    sources: Float64[np.ndarray, "m 3"],
    targets: Float64[np.ndarray, "m 3"],
    unit: float,
) -> Float64[np.ndarray, "n 3"]:
    """The points moved by the smoothing spline of kernel -|r| from sources to targets."""
    count = len(sources)
    affine = np.column_stack([np.ones(count), sources / unit])
    matrix = np.zeros((count + 4, count + 4))
    matrix[:count, :count] = -np.linalg.norm(sources[:, None] - sources, axis=2) / unit
    matrix[:count, :count] += WARP_SMOOTHING * np.eye(count)
    matrix[:count, count:], matrix[count:, :count] = affine, affine.T
    moves = np.linalg.solve(matrix, np.concatenate([targets - sources, np.zeros((4, 3))]))
    moved = points.copy()
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK]
        kernel = -np.linalg.norm(part[:, None] - sources, axis=2) / unit
        moved[start : start + CHUNK] += kernel @ moves[:count]
        moved[start : start + CHUNK] += (
            np.column_stack([np.ones(len(part)), part / unit]) @ moves[count:]
        )
    return moved


def _fit_extent(
    vertices: Float64[np.ndarray, "V 3"],
    part: Bool[np.ndarray, " V"],
    target: Float64[np.ndarray, "n 3"],
) -> None:
    """Move a part of the source, in place, so that it fills the box of the target's."""
    if len(target) and part.any():
        low, extent = vertices[part].min(0), np.maximum(np.ptp(vertices[part], axis=0), 1e-9)
        vertices[part] = (vertices[part] - low) / extent * np.ptp(target, axis=0) + target.min(0)


def _common_side(surface: FaceSurface) -> Int8[np.ndarray, " F"]:
    """Side of each triangle; 0 where its corners disagree."""
    sides = surface.sides[surface.triangles]
    return np.where((sides == sides[:, :1]).all(1), sides[:, 0], 0).astype(np.int8)


def _normals(
    vertices: Float64[np.ndarray, "V 3"], triangles: Int64[np.ndarray, "F 3"]
) -> Float64[np.ndarray, "F 3"]:
    """Normals whose lengths are twice the areas."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def _nearest(
    source: FaceSurface,
    vertices: Float64[np.ndarray, "Vs 3"],
    points: Float64[np.ndarray, "n 3"],
    parts: Int8[np.ndarray, " n"],
    normals: Float64[np.ndarray, "n 3"],
    sides: Int8[np.ndarray, " n"],
    unit: float,
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, "n 3"]]:
    """Row of the best source triangle, moved to `vertices`, and the weights of its nearest spot."""
    corners = vertices[source.triangles]
    source_normals = _normals(vertices, source.triangles)
    source_sides, source_parts = _common_side(source), source.triangle_parts
    found, weights = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        pool = np.flatnonzero(source_parts == part)
        pool = pool if len(pool) else np.flatnonzero(source_parts == SKIN)
        tree = KDTree(corners[pool].mean(1))
        for start in range(0, len(rows), CHUNK):
            row = rows[start : start + CHUNK]
            near = pool[tree.query(points[row], min(NEIGHBOURS, len(pool)))[1]]
            spots = closest_weights(points[row, None], corners[near])
            places = np.einsum("nkc,nkcx->nkx", spots, corners[near])
            cost = np.linalg.norm(places - points[row, None], axis=2)
            other = source_sides[near] * sides[row, None] != 0
            cost += OTHER_SIDE * unit * (other & (source_sides[near] != sides[row, None]))
            away = np.einsum("nkx,nx->nk", source_normals[near], normals[row]) < 0
            cost += OTHER_WAY * unit * away
            best = cost.argmin(1)
            found[row] = np.take_along_axis(near, best[:, None], 1)[:, 0]
            weights[row] = np.take_along_axis(spots, best[:, None, None], 1)[:, 0]
    return found, weights
