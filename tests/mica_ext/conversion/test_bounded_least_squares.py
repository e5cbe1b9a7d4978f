"""Bounded least squares against SciPy's solver, frame by frame."""

import numpy as np
from scipy.optimize import lsq_linear

from mica_ext.conversion.bounded_least_squares import solve_bounded


def test_solutions_are_scipy_s():
    """Correlated columns of different sizes; solutions at both bounds and between."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((120, 4)) @ rng.standard_normal((4, 20))
    A = (rng.standard_normal((120, 20)) + shared) * rng.uniform(0.1, 3, 20)
    b = rng.uniform(-0.5, 1.5, (30, 20)) @ A.T + rng.standard_normal((30, 120))
    found = solve_bounded(A.T @ A, b @ A)
    assert (found == 0).any()
    assert (found == 1).any()
    assert ((found > 0) & (found < 1)).any()
    for row, target in zip(found, b, strict=True):
        best = lsq_linear(A, target, (0, 1), tol=1e-12)
        cost = np.square(A @ row - target).sum() / 2
        assert cost <= best.cost * (1 + 1e-6) + 1e-9
        np.testing.assert_allclose(row, best.x, atol=2e-3)
