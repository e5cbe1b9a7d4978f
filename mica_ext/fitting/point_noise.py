"""Errors of the 478 points as they are: correlated, unequal, growing as the head turns away.

All lengths are in outer eye corner distances of the head, in the frame of the face in the picture:
x along the line of the eyes, y down.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from pacofr.faces.face_mesh.topology import FACE_OVAL, POINTS

INNER_SIGMA, CONTOUR_SIGMA = 0.014, 0.03


class PointNoise(NamedTuple):
    """Error of a point = bias(yaw) + modes z + independent noise, z ~ N(0, 1)."""

    sigma: Float64[np.ndarray, " L"]
    """Standard deviation of the independent noise."""
    modes: Float64[np.ndarray, "K L 2"]
    """What errors of different points share."""
    yaw_bias: Float64[np.ndarray, "Y L 2"]
    """Mean error of heads turned to their left by 0 ... 90 degrees, in equal steps."""

    @classmethod
    def uncalibrated(cls) -> "PointNoise":
        """Independent errors of 1.4 %, at the contour 3 %."""
        sigma = np.full(POINTS, INNER_SIGMA)
        sigma[FACE_OVAL] = CONTOUR_SIGMA
        return cls(sigma, np.zeros((0, POINTS, 2)), np.zeros((2, POINTS, 2)))

    def select(self, points: Int64[np.ndarray, " n"]) -> "PointNoise":
        """The noise of some of the points."""
        return PointNoise(self.sigma[points], self.modes[:, points], self.yaw_bias[:, points])
