"""Weighted normal equations of a batch of fits, and their solution over the free unknowns."""

import numpy as np
from jaxtyping import Bool, Float64

BOUND_TOLERANCE = 1e-3
"""Beyond a bound by less, an unknown is cut off."""


def cauchy_weights(
    residuals: Float64[np.ndarray, "B L 2"], sigma: Float64[np.ndarray, "B L"], threshold: float
) -> Float64[np.ndarray, "B L"]:
    """IRLS weights 1 / (sigma^2 (1 + |r|^2 / (threshold sigma)^2)) of the Cauchy loss."""
    excess = np.square(residuals).sum(-1) / np.square(threshold * sigma)
    return 1 / (np.square(sigma) * (1 + excess))


def normal_equations(
    jacobian: Float64[np.ndarray, "B L 2 N"],
    residuals: Float64[np.ndarray, "B L 2"],
    weights: Float64[np.ndarray, "B L"],
) -> tuple[Float64[np.ndarray, "B N N"], Float64[np.ndarray, "B N"]]:
    """J^T W J and J^T W r."""
    root = np.sqrt(weights)[..., None]
    J = (jacobian * root[..., None]).reshape(len(residuals), -1, jacobian.shape[-1])
    r = (residuals * root).reshape(len(residuals), -1, 1)
    Jt = J.transpose(0, 2, 1)
    return Jt @ J, (Jt @ r)[..., 0]


def solve_free(
    H: Float64[np.ndarray, "B N N"], g: Float64[np.ndarray, "B N"], fixed: Bool[np.ndarray, "B N"]
) -> Float64[np.ndarray, "B N"]:
    """Solve H step = g over the unknowns that are not `fixed`; the step of those is zero."""
    free = ~fixed
    H = H * (free[:, :, None] & free[:, None, :])
    diagonal = np.arange(g.shape[1])
    H[:, diagonal, diagonal] = np.where(fixed, 1.0, H[:, diagonal, diagonal] * (1 + 1e-6) + 1e-9)
    return np.linalg.solve(H, (g * free)[..., None])[..., 0]


def solve_bounded(
    H: Float64[np.ndarray, "B N N"],
    g: Float64[np.ndarray, "B N"],
    fixed: Bool[np.ndarray, "B N"],
    lowest: Float64[np.ndarray, "B N"],
    highest: Float64[np.ndarray, "B N"],
    exact: Bool[np.ndarray, " B"],
) -> Float64[np.ndarray, "B N"]:
    """`solve_free` within `lowest` and `highest` steps.

    Unknowns that would pass a bound are cut off there. Where `exact`, the others are then solved
    for again: they counted on more, which matters where a strong unknown is bounded.
    """
    step = solve_free(H, g, fixed)
    bounded = np.clip(step, lowest, highest)
    beyond = (np.abs(bounded - step) > BOUND_TOLERANCE) & exact[:, None]
    rows = np.flatnonzero(beyond.any(1))
    if len(rows):
        at_bound = np.where(beyond[rows], bounded[rows], 0.0)
        rest = g[rows] - (H[rows] @ at_bound[..., None])[..., 0]
        again = solve_free(H[rows], rest, fixed[rows] | beyond[rows]) + at_bound
        bounded[rows] = np.clip(again, lowest[rows], highest[rows])
    return bounded


def solve_shared(
    H: Float64[np.ndarray, "B N N"],
    g: Float64[np.ndarray, "B N"],
    fixed: Bool[np.ndarray, "B N"],
    shared: Bool[np.ndarray, " N"],
) -> Float64[np.ndarray, "B N"]:
    """`solve_free` where the unknowns `shared`, none of them fixed, are the same for all items.

    The sum of the items' problems, reduced to the shared unknowns (Schur complement).
    """
    own = ~shared
    free = ~fixed[:, own]
    among = H[:, own][:, :, own] * (free[:, :, None] & free[:, None, :])
    diagonal = np.arange(free.shape[1])
    among[:, diagonal, diagonal] = np.where(free, among[:, diagonal, diagonal] * (1 + 1e-6), 1.0)
    across = H[:, own][:, :, shared] * free[..., None]
    sides = np.concatenate([across, (g[:, own] * free)[..., None]], 2)
    solved = np.linalg.solve(among, sides)
    by_shared, alone = solved[..., :-1], solved[..., -1]
    reduced = H[:, shared][:, :, shared] - across.transpose(0, 2, 1) @ by_shared
    rest = g[:, shared] - (across * alone[..., None]).sum(1)
    step = np.empty_like(g)
    step[:, shared] = np.linalg.solve(reduced.sum(0), rest.sum(0))
    step[:, own] = alone - by_shared @ step[0, shared]
    return step
