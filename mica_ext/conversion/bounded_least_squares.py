"""Least squares with bounds, for many right sides at once."""

import numpy as np
from jaxtyping import Float64

ITERATIONS = 400
TOLERANCE = 1e-6
"""Largest change at which the iterations end."""
OVER_RELAXATION = 1.6


def solve_bounded(
    gram: Float64[np.ndarray, "E E"],
    right: Float64[np.ndarray, "N E"],
    lower: float = 0.0,
    upper: float = 1.0,
) -> Float64[np.ndarray, "N E"]:
    """Minimisers of x G x / 2 - r x within bounds, G positive definite.

    The alternating direction method of multipliers (Boyd et al. 2011, section 5.2) in coordinates
    in which the diagonal of G is 1; then one exact solution over the coefficients within bounds.
    """
    size = np.sqrt(np.diag(gram))
    scaled, target = gram / np.outer(size, size), right / size
    low, high = lower * size, upper * size
    values = np.linalg.eigvalsh(scaled)
    penalty = float(np.sqrt(max(values[0], 1e-4 * values[-1]) * values[-1]))
    inverse = np.linalg.inv(scaled + penalty * np.eye(len(size)))
    bounded, dual = np.zeros_like(target), np.zeros_like(target)
    for _ in range(ITERATIONS):
        free = (target + penalty * (bounded - dual)) @ inverse
        relaxed = OVER_RELAXATION * free + (1 - OVER_RELAXATION) * bounded
        previous, bounded = bounded, np.clip(relaxed + dual, low, high)
        dual += relaxed - bounded
        if max(np.abs(bounded - previous).max(), np.abs(free - bounded).max()) < TOLERANCE:
            break
    return _polish(scaled, target, bounded, low, high) / size


def _polish(
    gram: Float64[np.ndarray, "E E"],
    right: Float64[np.ndarray, "N E"],
    found: Float64[np.ndarray, "N E"],
    low: Float64[np.ndarray, " E"],
    high: Float64[np.ndarray, " E"],
) -> Float64[np.ndarray, "N E"]:
    """Solve exactly for the coefficients that are within bounds; keep what that makes better."""
    within = (found > low) & (found < high)
    held = np.where(within, 0.0, found)
    rest = np.where(within, right - held @ gram, 0.0)
    systems = np.where(within[:, :, None] & within[:, None, :], gram, 0.0)
    rows = np.arange(len(gram))
    systems[:, rows, rows] = np.where(within, np.diag(gram), 1.0)
    exact = held + np.linalg.solve(systems, rest[..., None])[..., 0]
    exact = np.clip(exact, low, high)

    def cost(x: Float64[np.ndarray, "N E"]) -> Float64[np.ndarray, " N"]:
        return ((x @ gram) * x / 2 - right * x).sum(1)

    return np.where((cost(exact) < cost(found))[:, None], exact, found)
