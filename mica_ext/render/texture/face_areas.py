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
_BEARD_BELOW_CHIN, _BEARD_BESIDE = 0.02, 0.012
"""How far beards reach beyond the chin and the jaw line [m]."""
_FOREHEAD_HEIGHT = 0.42
"""Above the brows, as a share of the distance from brows to chin."""
_BROW_DEPTH = 0.009
"""Brows reach that far down from their landmarks, which lie on their upper edges [m]."""


class FaceAreas(NamedTuple):
    """Weights per vertex, 0 to 1."""

    face: Float32[np.ndarray, " V"]
    """Between jaw line and brows: brows, eyes, lips and beard are kept as the photo shows them."""
    cheeks: Float32[np.ndarray, " V"]
    """Cheeks, nose and between the brows: skin in nearly every photo."""
    eyes: Float32[np.ndarray, " V"]
    right_brow: Float32[np.ndarray, " V"]
    left_brow: Float32[np.ndarray, " V"]
    above_right_brow: Float32[np.ndarray, " V"]
    above_left_brow: Float32[np.ndarray, " V"]
    beard: Float32[np.ndarray, " V"]
    """Where beards grow: below the nose, over the jaw line and beside the ears; lips not."""
    upper: Float32[np.ndarray, " V"]
    """Above the nose's base: hair of the head hangs in from here."""
    neck: Float32[np.ndarray, " V"]
    forehead: Float32[np.ndarray, " V"]
    """Above the brows, in front."""
    scalp: Float32[np.ndarray, " V"]
    """Where most people have hair: above the forehead and behind the ears."""
    moustache: Float32[np.ndarray, " V"]
    """The part of `beard` above the corners of the mouth, between them."""
    left_half: Float32[np.ndarray, " V"]
    """The person's left half of the head."""


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
    eyes = np.maximum(
        *(
            _inside(vertices, eye + 0.4 * (eye - eye.mean(axis=0)))
            for eye in (points[36:42], points[42:48])
        )
    )
    brows = [
        _inside(vertices, np.concatenate([brow - [0, _BROW_DEPTH, 0], brow + [0, 0.003, 0]]))
        * in_front
        for brow in (points[17:22], points[22:27])
    ]
    above = [
        _inside(vertices, np.concatenate([brow + [0, 0.004, 0], brow + [0, 0.012, 0]])) * in_front
        for brow in (points[17:22], points[22:27])
    ]
    height, width = vertices[:, 1], np.abs(vertices[:, 0] - middle[0])
    side = float(np.abs(points[[1, 15], 0] - middle[0]).mean())
    rows = points[[33, 33, 48, 48, 1], 1] - [0.003, 0.003, 0, 0, 0]
    upper_edge = np.interp(width / side, [0, 0.35, 0.6, 0.8, 0.95], rows)
    jaw_line = points[0:17].copy()
    jaw_line[:, 0] += np.sign(jaw_line[:, 0] - middle[0]) * _BEARD_BESIDE
    jaw_line[5:12, 1] -= _BEARD_BELOW_CHIN
    beard = _step(upper_edge - height) * _inside(vertices, jaw_line)
    beard *= 1 - _inside(vertices, points[48:60])
    beard *= vertices[:, 2] > points[[1, 15], 2].mean() - 0.01
    right_corner, left_corner = points[[48, 54]]
    upper_lip = _step((left_corner[0] - right_corner[0]) / 2 - width)
    upper_lip *= _step(height - (left_corner[1] + right_corner[1]) / 2)
    neck, nose_base = _neck(vertices, points), points[33, 1]
    face, skin, eyes = ((area * in_front).astype(np.float32) for area in (face, skin, eyes))
    return FaceAreas(
        face=face,
        cheeks=skin,
        eyes=eyes,
        right_brow=brows[0],
        left_brow=brows[1],
        above_right_brow=above[0],
        above_left_brow=above[1],
        beard=beard * (1 - neck),
        upper=_step(height - nose_base),
        neck=neck,
        forehead=(_step(height - points[17:27, 1].max() - 0.003) * in_front).astype(np.float32),
        scalp=_scalp(vertices, points) * (1 - neck),
        moustache=beard * upper_lip,
        left_half=_step(vertices[:, 0] - middle[0]),
    )


def _scalp(
    vertices: Float[np.ndarray, "V 3"], points: Float[np.ndarray, "68 3"]
) -> Float32[np.ndarray, " V"]:
    """Above a line from the forehead's upper end down to behind the ears."""
    brow, chin = points[17:27].mean(axis=0), points[8]
    front = np.array([brow[1] + _FOREHEAD_HEIGHT * (brow[1] - chin[1]), brow[2]])
    ear = points[[0, 16]].mean(axis=0)[1:]
    depth = np.clip((front[1] - vertices[:, 2]) / (front[1] - ear[1]), 0, None)
    return _step(vertices[:, 1] - (front[0] + depth * (ear[0] - front[0])))


def _neck(
    vertices: Float[np.ndarray, "V 3"], points: Float[np.ndarray, "68 3"]
) -> Float32[np.ndarray, " V"]:
    """Below the chin, and behind it below a line up to the ears."""
    jaw_angle = points[[3, 13]].mean(axis=0)
    chin = points[8]
    slope = (jaw_angle[1] - chin[1]) / min(jaw_angle[2] - chin[2], -1e-3)
    line = chin[1] + slope * (vertices[:, 2] - chin[2])
    return _step(np.minimum(line, jaw_angle[1]) - 0.012 - vertices[:, 1])


def _step(distance: Float[np.ndarray, " V"]) -> Float32[np.ndarray, " V"]:
    """0 below, 1 above a distance [m] of 0, with a soft edge."""
    return np.clip(distance / _SOFT_EDGE + 0.5, 0, 1).astype(np.float32)


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
