"""Prior of the landmark fit on jaw rotation and expression weights."""

import numpy as np
from jaxtyping import Float64

from flame_assets.arkit import arkit
from flame_assets.model.head import HeadModel
from mica_ext.data.synthetic.expressions import sample_expression

SAMPLES = 400
"""Sampled expressions that the moments are estimated from."""


def expression_prior_precision(
    head: HeadModel,
    *,
    scale: float,
    sigma_floor: float,
    jaw_sigma_floor: tuple[float, float, float],
) -> Float64[np.ndarray, "M M"] | None:
    """Precision matrix of (jaw rotation vector [rad], expression weights) of an "arkit" head.

    Inverse of the second moments (about zero) of `sample_expression` times `scale` squared, plus
    the squared floors on the diagonal. None for heads of another expression convention.
    """
    if head.expression_convention != "arkit":
        return None
    samples, names = [], head.expression_names
    for index in range(SAMPLES):
        pose = arkit(sample_expression(np.random.default_rng([0, index]), names), names)
        samples.append(np.concatenate([pose.jaw_pose, pose.expression]))
    scaled = scale * np.array(samples, np.float64)
    floor = np.array([*jaw_sigma_floor, *[sigma_floor] * len(names)])
    return np.linalg.inv(scaled.T @ scaled / SAMPLES + np.diag(floor**2))
