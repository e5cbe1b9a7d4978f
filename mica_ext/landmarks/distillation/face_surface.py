"""The 478 points as a surface: its triangles, which points face the camera, its yaw."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32, Shaped
from scipy.spatial import Delaunay

from pacofr.faces.face_mesh.region import region_of_points
from pacofr.faces.face_mesh.topology import (
    LEFT_EYE_CENTRE,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    RIGHT_EYE_CENTRE,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
    SKIN_POINTS,
)

FRONTAL_YAW = np.radians(8.0)
MIN_FACING = 0.02
"""Cosine between a point's normal and the line of sight above which it is visible."""
FRONTAL_FACES_MAX = 600


class FaceSurface(NamedTuple):
    """Triangulation of the skin, seen from the front in clockwise order (y down)."""

    triangles: Int32[np.ndarray, "F 3"]

    @classmethod
    def from_faces(cls, points: Shaped[np.ndarray, "N 478 3"]) -> "FaceSurface":
        """Delaunay triangulation of the mean of the frontal faces among `points`."""
        turned = np.abs(yaw_of(points))
        frontal = turned <= max(FRONTAL_YAW, float(turned.min()))
        upright = []
        for face in points[frontal][:FRONTAL_FACES_MAX]:
            matrix = region_of_points(face[:, :2], 1.0).to_crop(1)
            upright.append(face[:, :2] @ matrix[:, :2].T + matrix[:, 2])
        mean = np.mean(upright, axis=0)[:SKIN_POINTS]
        return cls(clockwise(Delaunay(mean).simplices, mean))

    def facing(self, points: Shaped[np.ndarray, "478 3"]) -> Bool[np.ndarray, "478"]:
        """Which points' normals look at the camera: a cheap stand-in for visibility."""
        a, b, c = (points[self.triangles[:, corner]] for corner in range(3))
        faces = np.tile(np.cross(b - a, c - a), (3, 1))
        corners = self.triangles.T.ravel()
        sums = [np.bincount(corners, weights=axis, minlength=len(points)) for axis in faces.T]
        normals = np.stack(sums, axis=1)
        normals[RIGHT_IRIS] = normals[RIGHT_EYE_CENTRE].sum(0)
        normals[LEFT_IRIS] = normals[LEFT_EYE_CENTRE].sum(0)
        lengths = np.linalg.norm(normals, axis=1)
        return normals[:, 2] > MIN_FACING * np.maximum(lengths, 1e-9)


def clockwise(
    triangles: Shaped[np.ndarray, "F 3"], points: Shaped[np.ndarray, "n 2"]
) -> Int32[np.ndarray, "F 3"]:
    """The triangles in clockwise order on the screen (positive area with y down)."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    ordered = np.where((area < 0)[:, None], triangles[:, ::-1], triangles)
    return ordered.astype(np.int32)


def yaw_of(points: Shaped[np.ndarray, "*n 478 3"]) -> Float[np.ndarray, "*n"]:
    """Angle by which faces are turned [rad], from the outer eye corners.

    Positive when the subject's left eye is farther away.
    """
    across = points[..., LEFT_EYE_OUTER, :] - points[..., RIGHT_EYE_OUTER, :]
    yaw = np.arctan2(across[..., 2], np.hypot(across[..., 0], across[..., 1]))
    return np.asarray(yaw)
