"""Regions of the face that get a confidence of their own; sides are the subject's."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pacofr.faces.face_mesh.topology import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    MIRROR,
    NOSE,
    OUTER_LIPS,
    POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

_CHEEKS = [50, 280, 117, 346, 205, 425]
_ALL = np.arange(POINTS)

REGIONS: dict[str, Int64[np.ndarray, " n"]] = {
    "right_eye": np.concatenate([RIGHT_EYE, _ALL[RIGHT_IRIS]]),
    "left_eye": np.concatenate([LEFT_EYE, _ALL[LEFT_IRIS]]),
    "right_brow": RIGHT_BROW,
    "left_brow": LEFT_BROW,
    "nose": NOSE,
    "mouth": np.concatenate([OUTER_LIPS, INNER_LIPS]),
    "contour": FACE_OVAL,
}
"""Points of each region."""
REGION_MIRROR = np.array([1, 0, 3, 2, 4, 5, 6])
"""Index of each region's mirror image."""

KEY_POINTS = np.array(
    list(
        dict.fromkeys(
            [
                *(*REGIONS["right_eye"][:16], *REGIONS["left_eye"][:16]),
                *(*_ALL[RIGHT_IRIS], *_ALL[LEFT_IRIS]),
                *(*RIGHT_BROW, *LEFT_BROW, *OUTER_LIPS, *INNER_LIPS),
                *(*FACE_OVAL[::2], *NOSE, *_CHEEKS),
            ]
        )
    )
)
"""Points that the network finds by heat maps; all others follow from them."""

_HALF_PAIRS = np.array(
    [
        *((160, 144), (159, 145), (158, 153), (161, 163), (157, 154)),  # lids
        *((13, 14), (82, 87), (81, 178), (78, 308), (61, 291), (0, 17)),  # lips
        *((105, 159), (66, 159), (63, 159)),  # brow to lid
    ]
)
FEATURE_PAIRS: Int64[np.ndarray, "n 2"] = np.unique(
    np.sort(np.concatenate([_HALF_PAIRS, MIRROR[_HALF_PAIRS]]), axis=1), axis=0
)
"""Pairs of points whose distances tell lid, mouth and brow movements."""

USUAL_ERROR = 3.0
"""Of a region's points, up to which they count fully [% of the eye distance]."""


def point_confidence(
    visibility: Float[Tensor, "B 7"], error: Float[Tensor, "B 7"]
) -> Float[Tensor, "B 478"]:
    """Precision of each point relative to a network's usual one: its region's, 1 elsewhere.

    Args:
        visibility: share of each region's points that can be seen, 0 to 1.
        error: expected error of each region's points [% of the eye distance].
    """
    by_region = visibility.square() / (error / USUAL_ERROR).clamp(min=1).square()
    confidence = torch.ones(len(visibility), POINTS)
    for index, points in enumerate(REGIONS.values()):
        confidence[:, torch.from_numpy(points)] = by_region[:, index, None].to(confidence)
    return confidence
