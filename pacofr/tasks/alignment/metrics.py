"""Errors of predicted landmarks: NME by several normalisations, its AUC and failure rate."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Shaped

CED_STEP = 1e-4
"""Between two thresholds of the cumulative error distribution."""


class EyePoints(NamedTuple):
    """Landmarks of a scheme whose means are two places on the eyes."""

    right: tuple[int, ...]
    left: tuple[int, ...]


def eye_distance(truth: Shaped[np.ndarray, "N K 2"], eyes: EyePoints) -> Float64[np.ndarray, " N"]:
    """Distance of the two eyes' points [px]."""
    right, left = (truth[:, list(side)].mean(axis=1, dtype=np.float64) for side in eyes)
    return np.linalg.norm(right - left, axis=-1)


def box_side(boxes: Shaped[np.ndarray, "N 4"]) -> Float64[np.ndarray, " N"]:
    """Geometric mean of the sides of boxes (x0, y0, x1, y1) [px]."""
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1, dtype=np.float64))


def box_diagonal(boxes: Shaped[np.ndarray, "N 4"]) -> Float64[np.ndarray, " N"]:
    """Diagonals of boxes (x0, y0, x1, y1) [px]."""
    return np.linalg.norm((boxes[:, 2:] - boxes[:, :2]).astype(np.float64), axis=1)


def normalised_mean_errors(
    points: Shaped[np.ndarray, "N K 2"],
    truth: Shaped[np.ndarray, "N K 2"],
    unit: Float[np.ndarray, " N"],
) -> Float64[np.ndarray, " N"]:
    """Mean distance over the landmarks of each face, in units of `unit` [px]; a fraction."""
    off = points.astype(np.float64) - truth
    return np.linalg.norm(off, axis=-1).mean(axis=1) / unit


class ErrorCurve(NamedTuple):
    """Summary of a cumulative error distribution up to a threshold."""

    auc: float
    """Area under the curve, divided by the threshold; 1 is perfect."""
    failure_rate: float
    """Fraction of faces whose error is larger than the threshold."""


def error_curve(errors: Float[np.ndarray, " N"], threshold: float) -> ErrorCurve:
    """AUC and failure rate, with the grid and Simpson's rule of FaRL's scorer."""
    grid = np.arange(0, threshold + CED_STEP, CED_STEP)
    curve = np.searchsorted(np.sort(errors), grid, side="right") / len(errors)
    return ErrorCurve(simpson(curve, CED_STEP) / threshold, float(1 - curve[-1]))


def simpson(values: Float[np.ndarray, " n"], step: float) -> float:
    """Integral over an even grid of 3 points or more by Simpson's rule.

    For an even number of points the last interval is integrated by the parabola through the last
    three (Cartwright 2017).
    """
    odd = len(values) - (len(values) + 1) % 2
    weights = np.full(odd, 2.0)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    total = weights @ values[:odd] * step / 3
    if odd < len(values):
        total += (5 * values[-1] + 8 * values[-2] - values[-3]) * step / 12
    return float(total)
