"""Priors and bounds of the fit's coefficients: jaw, shape axes, expression, noise modes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from flame_assets.arkit import OPPOSITES
from flame_assets.model.head import HeadModel
from mica_ext.fitting.config import FitConfig
from mica_ext.fitting.expression_prior import expression_prior_precision


class CoefficientPrior(NamedTuple):
    """Negative log density c P c / 2 + rate c within bounds; opposites are not on at once."""

    precision: Float64[np.ndarray, "M M"]
    rate: Float64[np.ndarray, " M"]
    lower: Float64[np.ndarray, " M"]
    upper: Float64[np.ndarray, " M"]
    opposites: Int64[np.ndarray, "n 2"]
    """Pairs of coefficients of which at most one is above zero."""

    @classmethod
    def of_head(
        cls, head: HeadModel, axes: int, modes: int, config: FitConfig
    ) -> "CoefficientPrior":
        """N(0, shape_sigma^2) on shape, N(0, 1) on noise.

        Bounded expressions are exponential times a wide normal of the natural expressions'
        covariance, so that most are zero; unbounded ones are N(0, 1).
        """
        bounded = head.expression_bounds is not None
        low, high = head.expression_bounds or (-np.inf, np.inf)
        free_jaw = float(head.expression_convention != "arkit")
        expression, shape, noise = (np.ones(n) for n in (head.expression_count, axes, modes))
        jaw = np.array(config.jaw_sigma)
        precision = np.diag(
            np.concatenate([jaw**-2, shape * config.shape_sigma**-2, expression, noise])
        )
        natural = expression_prior_precision(
            head, scale=config.expression_prior_scale, sigma_floor=config.expression_sigma_floor
        )
        start = 3 + axes
        if natural is not None:
            rows = slice(start, start + len(expression))
            precision[rows, rows] = natural
        brows = np.array([name.startswith("brow") for name in head.expression_names], bool)
        rate = np.where(brows, config.brow_rate, config.expression_rate) * bounded
        unbounded = [np.full(axes, np.inf), np.full(modes, np.inf)]
        jaw_bounds = [free_jaw * np.array(limits) for limits in (config.jaw_min, config.jaw_max)]
        names = head.expression_names
        highest = np.where(np.array(names) == "mouthClose", config.closed_jaw_max, high)
        known = [pair for pair in OPPOSITES if bounded and set(pair) <= set(names)]
        pairs = [[start + names.index(name) for name in pair] for pair in known]
        return cls(
            precision,
            np.concatenate([0 * jaw, 0 * shape, rate, 0 * noise]),
            np.concatenate([jaw_bounds[0], -unbounded[0], low * expression, -unbounded[1]]),
            np.concatenate([jaw_bounds[1], unbounded[0], highest * expression, unbounded[1]]),
            np.array(pairs, np.int64).reshape(-1, 2),
        )

    def exclude_opposites(
        self, coefficients: Float64[np.ndarray, "B M"]
    ) -> Float64[np.ndarray, "B M"]:
        """Coefficients of which each pair of opposites lost what both have."""
        coefficients = coefficients.copy()
        for first, second in self.opposites:
            common = np.minimum(coefficients[:, first], coefficients[:, second]).clip(0)
            coefficients[:, first] -= common
            coefficients[:, second] -= common
        return coefficients
