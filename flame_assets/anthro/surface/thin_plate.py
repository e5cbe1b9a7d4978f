"""Thin-plate field over the control points: every vertex is a fixed mixture of the controls.

Kernel r^2 log r in the embedding of the domain with a linear polynomial. Solved once; the basis
then carries the neutral shape, identity, expressions and jaw weights alike, all linear.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.distance import cdist

from flame_assets.anthro.surface.control_set import ControlSet


def _kernel(a: Float[ndarray, "n 3"], b: Float[ndarray, "m 3"]) -> Float[ndarray, "n m"]:
    r = cdist(a, b)
    return r * r * np.log(r + 1e-9)


def field_basis(controls: ControlSet, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n c"]:
    """Weights [n, c]: `weights @ controls.positions` are the surface at `points` of the capsule."""
    return spline_basis(controls.domain, controls.softness, points)


def spline_basis(
    centres: Float[ndarray, "c 3"], softness: Float[ndarray, " c"], points: Float[ndarray, "n 3"]
) -> Float[ndarray, "n c"]:
    """Weights [n, c] of the values at the centres for the smoothed thin-plate spline at `points`.

    `softness` is the smoothing of each centre [mm^2]; 0: the spline takes its value there.
    """
    count = len(centres)
    polynomial = np.c_[np.ones(count), centres]
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = _kernel(centres, centres) + np.diag(softness)
    system[:count, count:] = polynomial
    system[count:, :count] = polynomial.T
    rows = np.c_[_kernel(points, centres), np.ones(len(points)), points]
    # rows @ inverse(system), solved from the other side: the system is symmetric
    return np.linalg.solve(system, rows.T).T[:, :count]
