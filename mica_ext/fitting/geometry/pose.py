"""Head pose of known 3D points from their places in a photo.

Camera frame: x right, y up, looking along -z [m]; pixels: x right, y down. B heads, L points.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.fitting.geometry.gauss_newton import cauchy_weights, normal_equations, solve_free
from mica_ext.fitting.geometry.jacobians import (
    Observations,
    residuals_and_jacobian,
    rotation_jacobian,
)
from mica_ext.fitting.geometry.rotations import axis_angle_to_matrix


class Pose(NamedTuple):
    """Camera point = rotation @ head point + translation [m]."""

    rotation: Float64[np.ndarray, "B 3 3"]
    translation: Float64[np.ndarray, "B 3"]


class ScaledPose(NamedTuple):
    """Pixel = scale * (rotation @ head point)[:2] + offset, y down: an orthographic camera."""

    rotation: Float64[np.ndarray, "B 3 3"]
    scale: Float64[np.ndarray, " B"]
    """[px/m]"""
    offset: Float64[np.ndarray, "B 2"]
    """[px]"""


def scaled_pose(
    points: Float64[np.ndarray, "L 3"],
    observed_px: Float64[np.ndarray, "B L 2"],
    weights: Float64[np.ndarray, " L"],
) -> ScaledPose:
    """Orthographic pose by linear least squares, from any direction; needs no start.

    The affine camera of the points is replaced by the nearest one with orthogonal rows (scaled
    orthography as in POSIT, DeMenthon and Davis 1995).
    """
    model = np.column_stack([points, np.ones(len(points))]) * weights[:, None]
    affine = np.linalg.pinv(model) @ (observed_px * weights[:, None])
    rows = affine[:, :3].transpose(0, 2, 1) * [[1], [-1]]
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    orthogonal = left @ right
    third = np.cross(orthogonal[:, 0], orthogonal[:, 1])[:, None]
    return ScaledPose(np.concatenate([orthogonal, third], 1), singular.mean(1), affine[:, 3])


def perspective_pose(
    pose: ScaledPose,
    distance_m: Float64[np.ndarray, " B"],
    principal_point: Float64[np.ndarray, "B 2"],
) -> Pose:
    """The same view by a camera whose origin of head points is `distance_m` away."""
    aside = (pose.offset - principal_point) / pose.scale[:, None]
    return Pose(pose.rotation, np.stack([aside[:, 0], -aside[:, 1], -distance_m], -1))


def pose_step(
    pose: Pose,
    points: Float64[np.ndarray, "L 3"] | Float64[np.ndarray, "B L 3"],
    observations: Observations,
    sigma_px: Float64[np.ndarray, "B L"],
    robust_threshold: float,
) -> Pose:
    """Gauss-Newton step of rotation and translation with Cauchy weights."""
    residuals, jacobian = pose_residuals(pose, points, observations)
    weights = cauchy_weights(residuals, sigma_px, robust_threshold)
    H, g = normal_equations(jacobian, residuals, weights)
    return moved(pose, solve_free(H, g, np.zeros(g.shape, bool)))


def pose_residuals(
    pose: Pose,
    points: Float64[np.ndarray, "L 3"] | Float64[np.ndarray, "B L 3"],
    observations: Observations,
) -> tuple[Float64[np.ndarray, "B L 2"], Float64[np.ndarray, "B L 2 6"]]:
    """Residuals [px], and d(projected)/d(rotation vector from the left [rad], translation [m])."""
    rotated = points @ pose.rotation.transpose(0, 2, 1)
    camera_points = rotated + pose.translation[:, None]
    residuals, projection_jacobian = residuals_and_jacobian(camera_points, observations)
    rotation = rotation_jacobian(projection_jacobian, rotated)
    return residuals, np.concatenate([rotation, projection_jacobian], -1)


def moved(pose: Pose, step: Float64[np.ndarray, "B 6"]) -> Pose:
    """The pose after a further rotation vector from the left and a translation."""
    return Pose(axis_angle_to_matrix(step[:, :3]) @ pose.rotation, pose.translation + step[:, 3:])


def head_yaw(pose: Pose) -> Float64[np.ndarray, " B"]:
    """Turn about the vertical [rad], positive to the subject's left: the y angle of Rz Ry Rx."""
    R = pose.rotation
    return np.arctan2(-R[:, 2, 0], np.hypot(R[:, 0, 0], R[:, 1, 0]))


def picture_frame(pose: Pose) -> Float64[np.ndarray, "B 2 2"]:
    """Rows: the face's x axis (to its left) and its downward axis in the picture, y down."""
    R = pose.rotation
    roll = np.arctan2(R[:, 1, 0], np.hypot(R[:, 0, 0], R[:, 2, 0]))
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
