"""Response of detected points: point networks shrink deviations from the average face.

A point p of a feature with centre c, on a head of relative size s, is detected at

    c + (1 - r) s (t - c_t) + r (p - c)

with t and c_t the same point and centre on the neutral mean head. The deviation from the average,
be it identity or expression, is thus scaled by the response r. If r were left out of the identity
modes, the network's shrinkage would be fitted as identity; without centre and size, large heads
would be fitted with features that are too small.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from mica_ext.fitting.points.noise import FIT_POINTS
from pacofr.faces.face_mesh.topology import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
)

LIPS = np.concatenate([OUTER_LIPS, INNER_LIPS])
FEATURES = (
    (RIGHT_EYE, RIGHT_EYE),
    (LEFT_EYE, LEFT_EYE),
    (RIGHT_BROW, RIGHT_EYE),
    (LEFT_BROW, LEFT_EYE),
    (LIPS, LIPS),
)
"""Points, and the points whose mean is their centre; all other points have a response of 1."""


class PointResponse(NamedTuple):
    """Response of L points."""

    gain: Float64[np.ndarray, "L 2"]
    """r across the face (x), and in its plane of symmetry (y and z)."""
    centre: Float64[np.ndarray, "L L"]
    """Rows of weights: each point's centre as a mean of points; the point itself where r is 1."""

    @classmethod
    def of_fitted_points(cls, gain: Float64[np.ndarray, "478 2"]) -> "PointResponse":
        """The response of the `FIT_POINTS`."""
        centre = np.eye(len(FIT_POINTS))
        for points, around in FEATURES:
            rows, columns = _rows(points), _rows(around)
            centre[rows] = 0
            centre[np.ix_(rows, columns)] = 1 / len(columns)
        return cls(gain[FIT_POINTS], centre)

    def applied(
        self, basis: Float64[torch.Tensor, "L 6 Q"], rest: slice
    ) -> Float64[torch.Tensor, "L 6 Q"]:
        """The basis (see `PointBasis.points`) of the points as the network detects them.

        `rest` are the columns of the neutral head: its mean first, then identity.
        """
        gain = torch.from_numpy(self.gain)[:, [0, 1, 1, 0, 1, 1], None]
        centre = torch.from_numpy(self.centre)
        about = torch.einsum("lm,mkq->lkq", centre, basis)
        detected = gain * basis + (1 - gain) * about
        mean = basis[:, :3, 0] + basis[:, 3:, 0]
        size = _sizes(basis[:, :3, rest] + basis[:, 3:, rest], mean)
        average = (mean - centre @ mean)[..., None] * size
        detected[:, :3, rest] += (1 - gain[:, :3]) * average
        return detected


def _sizes(
    modes: Float64[torch.Tensor, "L 3 R"], mean: Float64[torch.Tensor, "L 3"]
) -> Float64[torch.Tensor, " R"]:
    """Relative size of each mode, by least squares about the head's middle; 1 for the mean."""
    about = mean - mean.mean(0)
    size = torch.einsum("lx,lxr->r", about, modes - modes.mean(0)) / about.square().sum()
    size[0] = 1
    return size


def _rows(points: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Their rows among the `FIT_POINTS`."""
    return np.flatnonzero(np.isin(FIT_POINTS, points))
