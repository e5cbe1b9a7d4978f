"""Sequences of expressions: coefficients of a head, or ARKit's weights."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from flame_assets.arkit import EXPRESSIONS, TONGUE_OUT

ARKIT_NAMES = (*EXPRESSIONS, TONGUE_OUT)


class HeadMotion(NamedTuple):
    """Frames of a head's coefficients; poses are axis-angle [rad] relative to the parent joint."""

    expression: Float64[np.ndarray, "N E"]
    jaw: Float64[np.ndarray, "N 3"]
    left_eye: Float64[np.ndarray, "N 3"]
    right_eye: Float64[np.ndarray, "N 3"]
    eyelids: Float64[np.ndarray, "N 2"] | None = None
    """Left and right, 0 open to 1 closed: a blend shape that some trackers add to FLAME."""


class ArkitMotion(NamedTuple):
    """Frames of ARKit's weights, in [0, 1]."""

    weights: Float64[np.ndarray, "N 52"]
    """In the order of `ARKIT_NAMES`."""
    timecodes: tuple[str, ...] | None = None
    """Of a Live Link Face recording."""
    angles: Float64[np.ndarray, "N 9"] | None = None
    """Of head, left and right eye as Live Link Face has them; see `live_link_angles`."""
    times_s: Float64[np.ndarray, " N"] | None = None
    """From the first frame [s]; without them frames follow at an even rate."""
