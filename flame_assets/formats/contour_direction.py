"""Which sign of the yaw a contour table is made for, told by geometry alone.

MICA and DECA look the table up by the yaw of an upright head, smplx by the opposite one (its camera
has y down). A table is right for `landmarks.contour_row` if the head, turned by a row's yaw, shows
the row's points further out in the picture than those of the opposite yaw's row: they are the
outline.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from flame_assets.model.head import CONTOUR_MAX_DEGREES, HeadModel

_DEGREES = range(15, CONTOUR_MAX_DEGREES + 1)


def contour_direction_score(head: HeadModel) -> float:
    """How much further out [m] a point lies by its own row than by the opposite yaw's, mean.

    Positive: the table follows `contour_row`; negative: it is made for the opposite yaw.
    """
    corners = head.template[head.triangles[head.contour_triangles]].astype(np.float64)
    rows = np.einsum("rpci,rpc->rpi", corners, head.contour_barycentric)
    gains = []
    for degrees in _DEGREES:
        left, right = rows[degrees], rows[CONTOUR_MAX_DEGREES + degrees]
        gains.append(_outwardness(left, degrees) - _outwardness(right, degrees))
        gains.append(_outwardness(right, -degrees) - _outwardness(left, -degrees))
    return float(np.mean(gains))


def _outwardness(points: Float[ndarray, "17 3"], degrees: int) -> float:
    """Mean distance [m] to the picture's left or right of iBUG 9..16 and 0..7 on a turned head."""
    yaw = np.radians(degrees)
    across = points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw)
    return float(across[9:].mean() - across[:8].mean()) / 2
