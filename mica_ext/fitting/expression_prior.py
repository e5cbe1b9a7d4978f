"""Prior of the fit on expression weights."""

import numpy as np
from jaxtyping import Float64

from flame_assets.model.head import HeadModel
from mica_ext.data.synthetic.expressions import sample_expression

SAMPLES = 400
"""Sampled expressions that the moments are estimated from."""


def expression_prior_precision(
    head: HeadModel,
    *,
    scale: float,
    sigma_floor: float,
) -> Float64[np.ndarray, "E E"] | None:
    """Precision matrix of the expression weights of an "arkit" head.

    Inverse of the second moments (about zero) of `sample_expression` times `scale` squared, plus
    the squared floor on the diagonal. None for heads of another expression convention.
    """
    if head.expression_convention != "arkit":
        return None
    samples, names = [], head.expression_names
    for index in range(SAMPLES):
        weights = sample_expression(np.random.default_rng([0, index]), names)
        samples.append([weights.get(name, 0.0) for name in names])
    scaled = scale * np.array(samples, np.float64)
    return np.linalg.inv(scaled.T @ scaled / SAMPLES + sigma_floor**2 * np.eye(len(names)))
