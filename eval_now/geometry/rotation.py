"""Rotation matrices of rotation vectors, their derivatives and their angle."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class RotationJacobian(NamedTuple):
    """A rotation matrix R(v) and its derivatives: `derivatives[k]` = dR / dv_k."""

    matrix: Float[np.ndarray, "3 3"]
    derivatives: Float[np.ndarray, "3 3 3"]


def rotation_jacobian(vector: Float[np.ndarray, " 3"]) -> RotationJacobian:
    """Rotation matrix of a rotation vector [rad] and its derivatives along the three components.

    The derivative is the closed form of Gallego and Yezzi, arXiv 1312.0788.
    """
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return RotationJacobian(np.eye(3), np.stack([_skew(axis) for axis in np.eye(3)]))
    cross = _skew(vector)
    rotation = (
        np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    )
    swept = np.cross(vector, (np.eye(3) - rotation).T)  # row k: vector x (I - R) e_k
    derivatives = np.stack(
        [(vector[k] * cross + _skew(swept[k])) / angle**2 @ rotation for k in range(3)]
    )
    return RotationJacobian(rotation, derivatives)


def rotation_angle_degrees(rotation: Float[np.ndarray, "3 3"]) -> float:
    """Angle of a rotation matrix, 0 to 180 degrees."""
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1) / 2))))


def _skew(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Cross-product matrix: _skew(v) @ y = v x y."""
    return np.cross(vector, np.eye(3)).T
