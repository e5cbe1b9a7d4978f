"""Rotations of the eyes from the centres of the irises."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.fitting.pose import Pose

IRIS_DEPTH = 0.0115
"""From the centre of an eye to that of its iris [m]."""
VERGENCE = 0.3
"""Factor on what the two eyes' rotations differ by: eyes move together."""


def gaze_rotations(
    iris_px: Float64[np.ndarray, "B 2 2"],
    eyes: Float64[np.ndarray, "B 2 3"],
    pose: Pose,
    focal_px: Float64[np.ndarray, " B"],
    principal_point: Float64[np.ndarray, "B 2"],
) -> Float64[np.ndarray, "B 2 3"]:
    """Rotation vectors [rad] that turn eyes from straight ahead to where the irises are seen.

    The line of sight through an iris meets the sphere around the eye's centre; where it misses, the
    nearest point of the sphere counts. Eyes without torsion: the third component is zero.

    Args:
        iris_px: centres of the irises in the photo, y down.
        eyes: centres of the eyes on the head, in the same order [m].
        pose: of the head.
        focal_px: of the camera.
        principal_point: of the camera [px].
    """
    ray = (iris_px - principal_point[:, None]) / focal_px[:, None, None] * [1, -1]
    ray = np.concatenate([ray, np.full_like(ray[..., :1], -1)], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    centre = eyes @ pose.rotation.transpose(0, 2, 1) + pose.translation[:, None]
    along = (ray * centre).sum(-1, keepdims=True)
    aside = along * ray - centre  # from the centre to the nearest point of the ray
    depth = np.sqrt(np.maximum(IRIS_DEPTH**2 - np.square(aside).sum(-1, keepdims=True), 0))
    direction = (aside - depth * ray) @ pose.rotation
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(direction, -1, 0)
    sine = np.hypot(x, y)
    factor = np.where(sine > 1e-9, np.arctan2(sine, z) / np.maximum(sine, 1e-9), 1.0)
    return np.stack([-y * factor, x * factor, 0 * x], -1)


def conjugate(rotations: Float64[np.ndarray, "B 2 3"], weights: Float64[np.ndarray, "B 2"]) -> Float64[np.ndarray, "B 2 3"]:
    """Both eyes' rotations, drawn together by `VERGENCE` about their weighted mean."""
    total = np.maximum(weights.sum(1), 1e-9)[:, None, None]
    mean = (rotations * weights[..., None]).sum(1, keepdims=True) / total
    return mean + VERGENCE * (rotations - mean)
