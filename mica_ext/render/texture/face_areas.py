"""Areas of a face by its 68 landmarks: what is surely skin, and what is face though not skin."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32

from flame_assets.model.head import HeadModel

_SOFT_EDGE = 0.004
"""Width of the areas' borders [m]."""
_CONTOUR_INSET = 0.14
"""Of the contour towards the middle of the face, as a share of its distance."""
_BROW_RISE = 0.008
"""Above the brows [m]."""
_DEPTH_BEHIND_NOSE = 0.085
"""Vertices further behind the nose tip are no face [m]."""


class FaceAreas(NamedTuple):
    """Weights per vertex, 0 to 1."""

    face: Float32[np.ndarray, " V"]
    """Between jaw line and brows: brows, eyes, lips and beard are kept as the photo shows them."""
    cheeks: Float32[np.ndarray, " V"]
    """Cheeks, nose and between the brows: skin in nearly every photo."""


def face_areas(head: HeadModel) -> FaceAreas:
    """The areas on a head, by its landmarks on the mean head."""
    points = _landmarks(head)
    vertices = head.template
    middle = points[27:36].mean(axis=0)
    outline = middle + (1 - _CONTOUR_INSET) * (points[1:16] - middle)
    brows = points[17:27] + [0, _BROW_RISE, 0]
    face = _inside(vertices, np.concatenate([outline, brows]))
    lids, nose = points[[36, 41, 40, 46, 47, 45]], points[33]
    below_eyes = lids.copy()
    below_eyes[:, 1] += 0.25 * (nose[1] - lids[:, 1])
    inner_brows = points[[21, 22]] - [0, _BROW_RISE / 2, 0]
    corners = points[[48, 54]] + [[-0.004, 0.004, 0], [0.004, 0.004, 0]]
    cheeks = _inside(vertices, np.concatenate([below_eyes, corners]))
    bridge = _inside(vertices, np.concatenate([inner_brows, points[[31, 35]]]))
    skin = np.maximum(cheeks, bridge)
    mouth = points[48:60] + 0.25 * (points[48:60] - points[48:60].mean(axis=0))
    skin *= 1 - _inside(vertices, mouth)
    for eye in (points[36:42], points[42:48]):
        skin *= 1 - _inside(vertices, eye + 0.35 * (eye - eye.mean(axis=0)))
    for nostril in ((points[31] + points[32]) / 2, (points[34] + points[35]) / 2):
        skin *= np.linalg.norm(vertices - nostril, axis=1) > 0.009
    in_front = vertices[:, 2] > points[30, 2] - _DEPTH_BEHIND_NOSE
    return FaceAreas(face * in_front, (skin * in_front).astype(np.float32))


def _landmarks(head: HeadModel) -> Float[np.ndarray, "68 3"]:
    """The 68 points of the mean head from the front [m]."""
    triangles = np.concatenate([head.static_contour_triangles, head.landmark_triangles])
    weights = np.concatenate([head.static_contour_barycentric, head.landmark_barycentric])
    return np.einsum("lk,lki->li", weights, head.template[head.triangles[triangles]])


def _inside(
    vertices: Float[np.ndarray, "V 3"], points: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, " V"]:
    """1 inside the convex hull of `points` seen from the front, 0 outside, with a soft edge."""
    hull = cv2.convexHull(points[:, :2].astype(np.float32) * 1000)
    distance = [cv2.pointPolygonTest(hull, (x, y), True) for x, y in vertices[:, :2] * 1000.0]
    soft = np.array(distance) / (1000 * _SOFT_EDGE)
    return np.clip(soft + 0.5, 0, 1).astype(np.float32)
