"""Analytic Jacobians of the fit; each is checked against finite differences in the tests.

Camera frame: x right, y up, looking along -z [m]; pixels: x right, y down. B heads, L points.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Observations(NamedTuple):
    """What is fitted, per head."""

    points_px: Float64[np.ndarray, "B L 2"]
    principal_point: Float64[np.ndarray, "B 2"]
    """[px]"""
    focal_px: Float64[np.ndarray, " B"]


def residuals_and_jacobian(
    points: Float64[np.ndarray, "B L 3"], observations: Observations
) -> tuple[Float64[np.ndarray, "B L 2"], Float64[np.ndarray, "B L 2 3"]]:
    """Residual observed - projected [px] and d(projected)/d(camera point) [px/m]."""
    scale = -observations.focal_px[:, None] / points[..., 2]
    offset = scale[..., None] * points[..., :2] * [1, -1]
    jacobian = np.zeros((*points.shape[:2], 2, 3))
    jacobian[..., 0, 0], jacobian[..., 1, 1] = scale, -scale
    jacobian[..., 2] = -offset / points[..., 2:]
    residuals = observations.points_px - observations.principal_point[:, None] - offset
    return residuals, jacobian


def rotation_jacobian(
    rows: Float64[np.ndarray, "B L n 3"], points: Float64[np.ndarray, "B L 3"]
) -> Float64[np.ndarray, "B L n 3"]:
    """d(rows . exp([w]x) points)/dw at w = 0: points x rows, for a rotation about the origin."""
    a, b, c = np.moveaxis(points[:, :, None], -1, 0)
    x, y, z = np.moveaxis(rows, -1, 0)
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], -1)


def pose_feature_jacobian(rotation: Float64[np.ndarray, "B 3 3"]) -> Float64[np.ndarray, "B 9 3"]:
    """d(exp([w]x) R)/dw at w = 0: the entries of R, row by row, by a rotation from the left."""
    moved = np.cross(np.eye(3)[None, :, :, None], rotation[:, None], axisa=2, axisb=2, axisc=2)
    return moved.transpose(0, 2, 3, 1).reshape(-1, 9, 3)


def jaw_jacobian(
    rows: Float64[np.ndarray, "B L n 3"],
    jaw_points: Float64[np.ndarray, "B L 3"],
    jaw: Float64[np.ndarray, "B 3 3"],
    corrective_rows: Float64[np.ndarray, "B L n 9"] | None = None,
) -> Float64[np.ndarray, "B L n 3"]:
    """d(y)/dw of n values y per point, for a jaw exp([w]x) R at w = 0.

    `rows` are d(y)/d(point of the head), `jaw_points` the parts of the points that turn with the
    jaw, about its joint [m]; `corrective_rows` d(y)/d(entries of R) of a head with pose
    correctives.
    """
    jacobian = rotation_jacobian(rows, jaw_points)
    if corrective_rows is not None:
        jacobian = jacobian + corrective_rows @ pose_feature_jacobian(jaw)[:, None]
    return jacobian
