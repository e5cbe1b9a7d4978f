"""What expressions to expect: the prior of the photo fit on jaw and expression weights."""

import numpy as np
from jaxtyping import Float64

from flame_assets.arkit import arkit
from flame_assets.model.head import HeadModel
from mica_ext.data.synthetic.expressions import draw_expression

DRAWS = 400
"""Drawn expressions, from which the prior of a head with ARKit's expressions is estimated."""


def movement_precision(
    head: HeadModel,
    *,
    scale: float,
    weight_floor: float,
    jaw_floor: tuple[float, float, float],
) -> Float64[np.ndarray, "M M"] | None:
    """Precision matrix of jaw rotation [rad] and weights of an "arkit" head, else None.

    The zero-mean normal distribution with the second moments of `draw_expression`, `scale` times as
    wide: smiles are likelier than pressed lips, both sides move alike, and jawOpen goes with the
    hinge. The floors are standard deviations that any weight keeps.
    """
    if head.expression_convention != "arkit":
        return None
    faces, names = [], head.expression_names
    for index in range(DRAWS):
        pose = arkit(draw_expression(np.random.default_rng([0, index]), names), names)
        faces.append(np.concatenate([pose.jaw_pose, pose.expression]))
    drawn = scale * np.array(faces, np.float64)
    floor = np.array([*jaw_floor, *[weight_floor] * len(names)])
    return np.linalg.inv(drawn.T @ drawn / DRAWS + np.diag(floor**2))
