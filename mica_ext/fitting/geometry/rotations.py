"""Rotation vectors and matrices in float64 NumPy, for the landmark fit.

`scipy.spatial.transform.Rotation` gives the same values (to 2e-16, see the tests); importing it
takes 0.15 s, which a single photo would pay for a tenth of a millisecond.
"""

import numpy as np
from jaxtyping import Float64

HALF_TURN_SINE = 1e-7
"""Sine of the angle below which the axis is taken from the symmetric part of the matrix."""


def axis_angle_to_matrix(vector: Float64[np.ndarray, "B 3"]) -> Float64[np.ndarray, "B 3 3"]:
    """Rotation vectors [rad] -> matrices (Rodrigues' formula, in sinc form: exact at zero)."""
    x, y, z = vector.T
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    angle = np.linalg.norm(vector, axis=-1)[:, None, None]
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + np.sinc(angle / np.pi) * K + 0.5 * half * half * (K @ K)


def matrix_to_axis_angle(rotation: Float64[np.ndarray, "B 3 3"]) -> Float64[np.ndarray, "B 3"]:
    """Rotation matrices -> rotation vectors [rad] of length 0 to pi."""
    skew = rotation - rotation.transpose(0, 2, 1)
    axis = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1) / 2  # sin(angle) axis
    sine = np.linalg.norm(axis, axis=-1)
    cosine = (np.trace(rotation, axis1=1, axis2=2) - 1) / 2
    angle = np.arctan2(sine, cosine)
    vector = axis * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 1.0)[:, None]
    for index in np.flatnonzero((sine < HALF_TURN_SINE) & (cosine < 0)):
        outer = rotation[index] + np.eye(3)  # 2 axis axis^T at a half turn
        column = outer[:, np.argmax(np.diag(outer))]
        sign = 1.0 if axis[index] @ column >= 0 else -1.0
        vector[index] = sign * angle[index] * column / np.linalg.norm(column)
    return vector
