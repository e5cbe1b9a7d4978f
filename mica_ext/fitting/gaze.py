"""Rotations of the eyes from the centres of the irises.

Rotation vectors [rad] from straight ahead, in the frame of the head; eyes have no torsion. The left
eye comes first.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.fitting.geometry.jacobians import Observations
from mica_ext.fitting.geometry.pose import Pose
from pacofr.faces.face_mesh.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

IRIS_DEPTH = 0.0115
"""From the centre of an eye to that of its iris [m]."""
VERGENCE = 0.3
"""Factor on what the two eyes' rotations differ by: eyes move together."""
GAZE_SIGMA, NOISE_SIGMA = np.radians(12.0), np.radians(5.0)
"""Standard deviations of an eye's rotation, and of its error."""
IRISES = [LEFT_IRIS.start, RIGHT_IRIS.start]
LID_RINGS = np.stack([LEFT_EYE, RIGHT_EYE])
OUTER, LOWER, INNER, UPPER = 0, 4, 8, 12
"""Within a ring."""
CLOSED, OPEN = 0.08, 0.18
"""Lid opening over eye width at which the iris begins to count, and counts fully."""


class EyeObservations(NamedTuple):
    """What the photo shows of both eyes."""

    iris_px: Float64[np.ndarray, "B 2 2"]
    visibility: Float64[np.ndarray, "B 2"]
    """0 (closed or hidden) to 1."""

    @classmethod
    def from_points(
        cls, points_px: Float64[np.ndarray, "B 478 2"], confidence: Float64[np.ndarray, "B 478"]
    ) -> "EyeObservations":
        """Irises, and how far the lids let see them."""
        ring = points_px[:, LID_RINGS]
        width = np.linalg.norm(ring[:, :, OUTER] - ring[:, :, INNER], axis=-1)
        opening = np.linalg.norm(ring[:, :, UPPER] - ring[:, :, LOWER], axis=-1)
        share = opening / np.maximum(width, 1e-9)
        visibility = ((share - CLOSED) / (OPEN - CLOSED)).clip(0, 1) * confidence[:, IRISES]
        return cls(points_px[:, IRISES], visibility)


def iris_rotations(
    iris_px: Float64[np.ndarray, "B 2 2"],
    eyes: Float64[np.ndarray, "B 2 3"],
    pose: Pose,
    observations: Observations,
) -> Float64[np.ndarray, "B 2 3"]:
    """Rotations of eyes with centres `eyes` on the head [m] whose irises are seen there.

    The line of sight through an iris meets the sphere around the eye's centre; where it misses, the
    nearest point of the sphere counts.
    """
    aside = iris_px - observations.principal_point[:, None]
    aside = aside / observations.focal_px[:, None, None] * [1, -1]
    ray = np.concatenate([aside, np.full_like(aside[..., :1], -1)], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    centre = eyes @ pose.rotation.transpose(0, 2, 1) + pose.translation[:, None]
    nearest = (ray * centre).sum(-1, keepdims=True) * ray - centre
    depth = np.sqrt(np.maximum(IRIS_DEPTH**2 - np.square(nearest).sum(-1, keepdims=True), 0))
    direction = (nearest - depth * ray) @ pose.rotation
    x, y, z = np.moveaxis(direction, -1, 0)
    sine = np.hypot(x, y)
    factor = np.arctan2(sine, z) / np.maximum(sine, 1e-9)
    return np.stack([-y * factor, x * factor, 0 * x], -1)


def estimate_gaze(
    rotations: Float64[np.ndarray, "B 2 3"], visibility: Float64[np.ndarray, "B 2"]
) -> Float64[np.ndarray, "B 2 3"]:
    """Posterior mean of both eyes' rotations; closed eyes look straight ahead."""
    total = visibility.sum(1)[:, None, None]
    mean = (rotations * visibility[..., None]).sum(1, keepdims=True) / np.maximum(total, 1e-9)
    together = mean + VERGENCE * (rotations - mean)
    return together * total / (total + (NOISE_SIGMA / GAZE_SIGMA) ** 2)
