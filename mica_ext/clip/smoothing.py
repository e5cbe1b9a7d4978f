"""Smoothing over time without lag that keeps what moves fast: blinks, lips that meet, saccades.

Around every frame a parabola is fitted to the values on both sides of it (local polynomial
regression: Savitzky-Golay filter for uneven times), frames weighted by their confidence. How far
the values around there miss their parabolas, beyond their noise, tells whether something happens
that parabolas do not follow; so much of the difference is given back (Lee's adaptive Wiener filter,
1980): result = parabola + max(0, 1 - noise / energy) (value - parabola).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int

HALF_WINDOW_S = 0.15
"""Frames farther away do not count [s]."""
RIDGE = 1e-6
"""Keeps the parabola of two frames a line and that of one a constant."""
NOISE_QUANTILE = 0.3
"""Of the energies of a clip, which is taken for that of the noise alone."""


def parabolas(
    times_s: Float64[np.ndarray, " N"],
    values: Float64[np.ndarray, "N C"],
    weights: Float64[np.ndarray, " N"],
    half_window_s: float = HALF_WINDOW_S,
) -> Float64[np.ndarray, "N C"]:
    """The local parabolas' values at their middles."""
    return _moving(times_s, values, weights, half_window_s, degree=2)


def moving_mean(
    times_s: Float64[np.ndarray, " N"],
    values: Float64[np.ndarray, "N C"],
    half_window_s: float,
) -> Float64[np.ndarray, "N C"]:
    """Means over the frames about each, those farther away counting less."""
    return _moving(times_s, values, np.ones(len(times_s)), half_window_s, degree=0)


def adaptive_wiener(
    times_s: Float64[np.ndarray, " N"],
    values: Float64[np.ndarray, "N C"],
    weights: Float64[np.ndarray, " N"],
    groups: Sequence[Int[np.ndarray, " _"]],
    floor: Float64[np.ndarray, " C"],
    half_window_s: float = HALF_WINDOW_S,
) -> Float64[np.ndarray, "N C"]:
    """One run of frames, smoothed.

    Args:
        times_s: increasing.
        values: of the frames.
        weights: of the frames, 0 to 1.
        groups: columns that move together and share their gain.
        floor: least standard deviation of each column's noise.
        half_window_s: see `HALF_WINDOW_S`.
    """
    middle = parabolas(times_s, values, weights, half_window_s)
    miss = values - middle
    noise = np.maximum(_noise(miss), floor)
    energy = np.square(miss / noise)
    result = middle.copy()
    for columns in groups:
        pooled = energy[:, columns].mean(1, keepdims=True)
        local = moving_mean(times_s, pooled, half_window_s / 2)
        gain = (1 - 1 / np.maximum(local, 1)).clip(0)
        result[:, columns] += gain * miss[:, columns]
    return result


def _noise(miss: Float64[np.ndarray, "N C"]) -> Float64[np.ndarray, " C"]:
    """Standard deviation of what is always there."""
    return np.quantile(np.abs(miss), NOISE_QUANTILE, axis=0) / 0.385  # of a normal's magnitude


def _moving(
    times_s: Float64[np.ndarray, " N"],
    values: Float64[np.ndarray, "N C"],
    weights: Float64[np.ndarray, " N"],
    half_window_s: float,
    degree: int,
) -> Float64[np.ndarray, "N C"]:
    """Local polynomials' values at their middles, with tricube weights over time."""
    count, terms = len(times_s), degree + 1
    moments = np.zeros((count, terms, terms))
    sums = np.zeros((count, terms, values.shape[1]))
    reach = 0
    for offset in _offsets(times_s, half_window_s):
        rows = np.arange(max(0, -offset), count - max(0, offset))
        u = (times_s[rows + offset] - times_s[rows]) / half_window_s
        kernel = weights[rows + offset] * (1 - np.abs(u).clip(0, 1) ** 3) ** 3
        powers = u[:, None] ** np.arange(terms)
        weighted = powers * kernel[:, None]
        moments[rows] += weighted[:, :, None] * powers[:, None]
        sums[rows] += weighted[:, :, None] * values[rows + offset, None]
        reach = max(reach, abs(offset))
    moments += RIDGE * np.eye(terms) * np.r_[1e-6, np.ones(degree)]
    return np.linalg.solve(moments, sums)[:, 0]


def _offsets(times_s: Float64[np.ndarray, " N"], half_window_s: float) -> range:
    """Frames before and after that any frame's window may hold."""
    starts = np.searchsorted(times_s, times_s - half_window_s)
    most = int((np.arange(len(times_s)) - starts).max(initial=0))
    return range(-most, most + 1)
