"""What readers of heads other than FLAME share: joints, landmarks and colours for a HeadModel."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from scipy.linalg import cho_factor, cho_solve

from flame_assets.model.head import CONTOUR_POINTS, CONTOUR_ROWS

SKIN, LIPS = (0.83, 0.66, 0.57), (0.74, 0.47, 0.45)
SCLERA, IRIS, PUPIL = (0.93, 0.92, 0.90), (0.36, 0.29, 0.24), (0.05, 0.05, 0.05)
TEETH, GUMS = (0.90, 0.88, 0.82), (0.72, 0.42, 0.42)
"""Plain RGB colours for pictures; no claim about anyone."""


class PinnedLandmarks(NamedTuple):
    """The landmark fields of a HeadModel whose contour does not slide."""

    landmark_triangles: Int32[np.ndarray, " 51"]
    landmark_barycentric: Float32[np.ndarray, "51 3"]
    contour_triangles: Int32[np.ndarray, "79 17"]
    contour_barycentric: Float32[np.ndarray, "79 17 3"]
    static_contour_triangles: Int32[np.ndarray, " 17"]
    static_contour_barycentric: Float32[np.ndarray, "17 3"]


def pinned_landmarks(
    triangles: Int[np.ndarray, " 68"], barycentric: Float[np.ndarray, "68 3"]
) -> PinnedLandmarks:
    """68 points in iBUG order on triangles; every yaw has the same contour."""
    ids, weights = triangles.astype(np.int32), barycentric.astype(np.float32)
    return PinnedLandmarks(
        ids[CONTOUR_POINTS:],
        weights[CONTOUR_POINTS:],
        np.tile(ids[:CONTOUR_POINTS], (CONTOUR_ROWS, 1)),
        np.tile(weights[:CONTOUR_POINTS], (CONTOUR_ROWS, 1, 1)),
        ids[:CONTOUR_POINTS],
        weights[:CONTOUR_POINTS],
    )


def solve_joint_regressor(
    fields: Float[np.ndarray, "N V"], joints: Float[np.ndarray, "N J"]
) -> Float32[np.ndarray, "J V"]:
    """The regressor R [J,V] of least norm with fields R^T = joints.

    Rows of `fields` are what moves: coordinates of the template and of every mode, one row each;
    `joints` holds the same of the joints. Exact where the rows are independent.
    """
    rows = np.asarray(fields, np.float64)
    scale = np.linalg.norm(rows, axis=1)
    keep = scale > 0
    rows, scale = rows[keep] / scale[keep, None], scale[keep, None]
    gram = rows @ rows.T
    gram[np.diag_indices_from(gram)] += 1e-12
    solution = cho_solve(cho_factor(gram), np.asarray(joints, np.float64)[keep] / scale)
    return (rows.T @ solution).T.astype(np.float32)


def affine_weights(
    points: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "3"]
) -> Float[np.ndarray, " n"]:
    """Weights of least norm, of sum 1, whose mean of the points is the target.

    Under any affine map of the points the mean is the mapped target.
    """
    ones = np.ones((1, len(points)))
    rows = np.concatenate([points.T.astype(np.float64), ones])
    return np.linalg.lstsq(rows, np.append(target, 1.0), rcond=None)[0]
