"""How detected points follow the skin: networks read features nearer to the average than they are.

A point p of a feature with the centre c, on a head of the size s, is read at

    c + (1 - r) s (t - c_t) + r (p - c),

t and c_t those of the neutral mean head: what sets it apart from the average, be it identity or
expression, counts by its response r. Without r in the identity, fits take the network's shyness for
the person's own; without the centre and the size, they find small features on large heads.
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
"""Points, and the points whose mean is their centre; all other points follow fully."""


class PointResponse(NamedTuple):
    """Of L points."""

    share: Float64[np.ndarray, "L 2"]
    """Response across the face, and in its plane of symmetry, about whose axis the jaw opens."""
    centre: Float64[np.ndarray, "L L"]
    """Rows of weights: each point's centre as a mean of points; itself where it follows fully."""

    @classmethod
    def of_fitted_points(cls, share: Float64[np.ndarray, "478 2"]) -> "PointResponse":
        """That of the `FIT_POINTS`."""
        centre = np.eye(len(FIT_POINTS))
        for points, around in FEATURES:
            rows, columns = _rows(points), _rows(around)
            centre[rows] = 0
            centre[np.ix_(rows, columns)] = 1 / len(columns)
        return cls(share[FIT_POINTS], centre)

    def applied(
        self, basis: Float64[torch.Tensor, "L 6 Q"], rest: slice
    ) -> Float64[torch.Tensor, "L 6 Q"]:
        """The basis (see `PointBasis.points`) of the points as they are read.

        `rest` are the columns of the neutral head: its mean first, then identity.
        """
        share = torch.from_numpy(self.share)[:, [0, 1, 1, 0, 1, 1], None]
        centre = torch.from_numpy(self.centre)
        about = torch.einsum("lm,mkq->lkq", centre, basis)
        read = share * basis + (1 - share) * about
        mean = basis[:, :3, 0] + basis[:, 3:, 0]
        size = _sizes(basis[:, :3, rest] + basis[:, 3:, rest], mean)
        usual = (mean - centre @ mean)[..., None] * size
        read[:, :3, rest] += (1 - share[:, :3]) * usual
        return read


def _sizes(
    modes: Float64[torch.Tensor, "L 3 R"], mean: Float64[torch.Tensor, "L 3"]
) -> Float64[torch.Tensor, " R"]:
    """How much larger each mode makes the head, about its middle, by least squares; 1: the mean."""
    about = mean - mean.mean(0)
    size = torch.einsum("lx,lxr->r", about, modes - modes.mean(0)) / about.square().sum()
    size[0] = 1
    return size


def _rows(points: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Of the `FIT_POINTS`."""
    return np.flatnonzero(np.isin(FIT_POINTS, points))
