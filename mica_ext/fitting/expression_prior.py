"""Prior of the fit on expression weights."""

import functools

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
    scaled = scale * _samples(head.expression_names)
    return np.linalg.inv(scaled.T @ scaled / SAMPLES + sigma_floor**2 * np.eye(scaled.shape[1]))


@functools.cache
def _samples(names: tuple[str, ...]) -> Float64[np.ndarray, "samples E"]:
    """Weights of sampled expressions."""
    samples = []
    for index in range(SAMPLES):
        weights = sample_expression(np.random.default_rng([0, index]), names)
        samples.append([weights.get(name, 0.0) for name in names])
    return np.array(samples, np.float64)
