"""Closest points of triangles, in a plane or in space."""

import numpy as np
from jaxtyping import Float64

MIN_AREA = 1e-30
"""Squared double area below which a triangle counts as its edges alone."""


def closest_weights(
    points: Float64[np.ndarray, "*#L D"], triangles: Float64[np.ndarray, "*#L 3 D"]
) -> Float64[np.ndarray, "*L 3"]:
    """Barycentric weights of the spot of each triangle that is nearest to the point beside it."""
    a, b, c = np.moveaxis(triangles, -2, 0)
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    area = uu * vv - uv * uv
    safe = np.maximum(area, MIN_AREA)
    second, third = (vv * uw - uv * vw) / safe, (uu * vw - uv * uw) / safe
    best = np.stack([1 - second - third, second, third], -1)
    outside = (best < 0).any(-1) | (area <= MIN_AREA)
    least = np.where(outside, np.inf, -1.0)
    for first, last in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[..., first, :], triangles[..., last, :] - triangles[..., first, :]
        along = ((points - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), MIN_AREA)
        along = along.clip(0, 1)
        distance = np.square(start + along[..., None] * edge - points).sum(-1)
        weights = np.zeros_like(best)
        weights[..., first], weights[..., last] = 1 - along, along
        nearer = distance < least
        best[nearer], least = weights[nearer], np.where(nearer, distance, least)
    return best
