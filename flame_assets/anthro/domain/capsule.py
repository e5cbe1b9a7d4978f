"""The parameter domain: a capsule, so that no pole or seam falls on the face.

A cylinder of radius 80 about the y axis, closed above y = 40 by a hemisphere. A place on it is
(u, v): u = arc length around from the midline, v = arc length upward [both mm]. `height_to_v`
stretches v where the face folds under itself: nose base, lip seam, underside of the chin.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

RADIUS = 80.0
"""Radius of the capsule [mm]."""
CAP = 40.0
"""Height at which the cylinder turns into the hemisphere [mm]."""
V_TOP = CAP + RADIUS * np.pi / 2
V_BOTTOM = -242.0
U_BACK = RADIUS * np.pi

_HEIGHTS = np.array([-260, -190, -121.5, -112, -70.9, -69.7, -48, -36, 300.0])
_STRETCHED = np.array([-314, -242, -170, -127, -83.2, -73, -53, -36, 300.0])


def height_to_v(y: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Height of a point of the face [mm] -> v [mm], piecewise linear."""
    return np.interp(y, _HEIGHTS, _STRETCHED)


def locate(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 2"]:
    """Cylinder place (u, v) of points of the face below the cap [mm]."""
    u = RADIUS * np.arctan2(points[:, 0], points[:, 2])
    return np.stack([u, height_to_v(points[:, 1])], 1)


def embed(places: Float[ndarray, "n 2"]) -> Float[ndarray, "n 3"]:
    """(u, v) -> the point of the capsule in space; distances of the field are taken there."""
    u, v = places[:, 0], places[:, 1]
    latitude = np.maximum(v - CAP, 0.0) / RADIUS
    ring = RADIUS * np.cos(latitude)
    y = np.where(v > CAP, CAP + RADIUS * np.sin(latitude), v)
    return np.stack([ring * np.sin(u / RADIUS), y, ring * np.cos(u / RADIUS)], 1)


def embed_points(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Point of the capsule that belongs to a point of the head; above the cap by its direction."""
    embedded = embed(locate(points))
    upward = np.stack([points[:, 0], 1.1 * (points[:, 1] - CAP), points[:, 2]], 1)
    upward /= np.maximum(np.linalg.norm(upward, axis=1, keepdims=True), 1e-9)
    cap = np.array([0.0, CAP, 0.0]) + RADIUS * upward
    return np.where((points[:, 1] > CAP)[:, None], cap, embedded)


def flatten(places: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
    """(u, v) -> conformal plane map: the half head becomes a half disc, both midlines one line."""
    u, v = places[:, 0], places[:, 1]
    below = np.exp(np.maximum(CAP - v, 0.0) / RADIUS)
    above = np.tan((np.pi / 2 - np.maximum(v - CAP, 0.0) / RADIUS) / 2)
    rho = np.where(v < CAP, below, above)
    return np.stack([rho * np.cos(u / RADIUS), rho * np.sin(u / RADIUS)], 1)


def unflatten(plane: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
    """Inverse of `flatten`."""
    rho = np.maximum(np.hypot(plane[:, 0], plane[:, 1]), 1e-9)
    u = RADIUS * np.arctan2(plane[:, 1], plane[:, 0])
    below = CAP - RADIUS * np.log(rho)
    above = CAP + RADIUS * (np.pi / 2 - 2 * np.arctan(rho))
    return np.stack([u, np.where(rho > 1, below, above)], 1)


def inside_polygon(points: Float[ndarray, "n 2"], polygon: Float[ndarray, "k 2"]) -> "ndarray":
    """Boolean [n]: which points lie inside a closed polygon (crossing number)."""
    x, y = points[:, :1], points[:, 1:]
    a, b = polygon, np.roll(polygon, -1, axis=0)
    spans = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(a[:, 1] == b[:, 1], 1.0, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
    return np.sum(spans & (x < crossing), axis=1) % 2 == 1
