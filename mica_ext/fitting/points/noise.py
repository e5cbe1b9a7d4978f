"""Errors of the fitted points as they are: unequal, correlated, growing as the head turns away.

Lengths are in outer eye corner distances of the head, in the frame of the face in the picture: x
along the line of the eyes, y down.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mica_ext.fitting.geometry.pose import Pose, head_yaw, picture_frame
from pacofr.faces.face_mesh.topology import (
    BETWEEN_FEATURES,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    NOSE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
)

REGION_SIGMA = (
    (np.concatenate([OUTER_LIPS, INNER_LIPS]), 0.012),
    (np.concatenate([RIGHT_EYE, LEFT_EYE]), 0.008),
    (np.concatenate([RIGHT_BROW, LEFT_BROW]), 0.015),
    (NOSE, 0.035),
    (np.concatenate([FACE_OVAL, BETWEEN_FEATURES]), 0.100),
)
"""Points that are fitted, and the standard deviation of their errors.

Bare skin and the contour have nothing that a network could see; of the other 290 points there is
nothing to learn beyond these.
"""
FIT_POINTS = np.unique(np.concatenate([points for points, _ in REGION_SIGMA]))
YAW_SCALE = np.radians(50.0)
"""Standard deviations grow with the yaw by 1 + (yaw / this)^3."""
HIDDEN_FACTOR = 3.0
"""Factor on the standard deviation of points that the head itself hides."""
HELD_JAW_PRECISION = 3.0
"""Factor on the precision of the inner lips' points of faces whose jaw is held shut."""
AT_INNER_LIPS = np.isin(FIT_POINTS, INNER_LIPS)


class PointNoise(NamedTuple):
    """Error of a point = modes z + independent noise, z ~ N(0, 1), of the `FIT_POINTS`."""

    sigma: Float64[np.ndarray, " L"]
    """Standard deviation of the independent noise."""
    modes: Float64[np.ndarray, "K L 2"]
    """What errors of different points share."""

    @classmethod
    def by_region(cls) -> "PointNoise":
        """Independent errors."""
        sigma = np.zeros(FIT_POINTS.max() + 1)
        for points, value in reversed(REGION_SIGMA):
            sigma[points] = value
        return cls(sigma[FIT_POINTS], np.zeros((0, len(FIT_POINTS), 2)))


class PhotoNoise(NamedTuple):
    """The same in photos [px]."""

    sigma_px: Float64[np.ndarray, "B L"]
    modes_px: Float64[np.ndarray, "B L 2 K"]

    def with_precise_inner_lips(self, held_jaw: Float64[np.ndarray, " B"]) -> "PhotoNoise":
        """Smaller standard deviations of the inner lips' points where the jaw is held, from 0
        (free) to 1 (shut): the lips' own movements then explain the gap against the priors."""
        if not held_jaw.any():
            return self
        precision = 1 + (HELD_JAW_PRECISION - 1) * held_jaw[:, None] * AT_INNER_LIPS
        return self._replace(sigma_px=self.sigma_px / np.sqrt(precision))


def noise_in_photos(
    noise: PointNoise,
    pose: Pose,
    facing: Float64[np.ndarray, "B L"],
    unit_px: Float64[np.ndarray, " B"],
    confidence: Float64[np.ndarray, "B L"],
) -> PhotoNoise:
    """The noise of heads in a pose.

    Args:
        noise: of the points.
        pose: of the heads.
        facing: positive where a point's skin faces the camera.
        unit_px: outer eye corner distance of each head, if it were seen from the front [px].
        confidence: of each point, 0 to 1; divides its variance.
    """
    scale = unit_px * (1 + (np.abs(head_yaw(pose)) / YAW_SCALE) ** 3)
    hidden = np.where(facing < 0, HIDDEN_FACTOR, 1.0)
    sigma = noise.sigma * scale[:, None] * hidden / np.sqrt(confidence)
    axes = picture_frame(pose).transpose(0, 2, 1)[:, None] * scale[:, None, None, None]
    return PhotoNoise(sigma, axes @ noise.modes.transpose(1, 2, 0))
