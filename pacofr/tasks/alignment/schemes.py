"""Landmark schemes: how many points, and which of them normalise the error."""

from collections.abc import Mapping
from typing import NamedTuple

from pacofr.tasks.alignment.metrics import EyePoints


class LandmarkScheme(NamedTuple):
    """A convention of landmarks; they count from 0."""

    count: int
    eye_corners: EyePoints
    """Outer corners of the eyes, whose distance is the inter-ocular one."""
    pupils: EyePoints


SCHEMES: Mapping[int, LandmarkScheme] = {
    68: LandmarkScheme(
        68, EyePoints((36,), (45,)), EyePoints(tuple(range(36, 42)), tuple(range(42, 48)))
    ),
    19: LandmarkScheme(19, EyePoints((6,), (11,)), EyePoints((7,), (10,))),
    98: LandmarkScheme(98, EyePoints((60,), (72,)), EyePoints((96,), (97,))),
}
"""By the number of points: iBUG's (300W), AFLW's, WFLW's."""
