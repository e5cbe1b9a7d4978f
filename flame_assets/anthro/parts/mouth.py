"""The lip seam in the domain and the oral cavity behind it.

The seam is a lens-shaped hole of the domain, 10 mm high so that opened lips do not scallop; in
space its two edges coincide (closed lips, gap 0). Behind it a bag of rings passes in front of the
teeth, around both arches and ends in the throat.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

SEAM_V = -78.0
SEAM_U = 23.2
"""Place of the lip corner in the domain [mm]."""
SEAM_NODES = np.array([0.0, 7.1, 15.0, SEAM_U])
"""u of the named seam controls sto, sto1, sto2, cheilion."""
SEAM_BETWEEN = np.array([3.6, 11.0, 19.0])
"""u of the seam controls derived from them by a cubic spline."""
COLUMNS = 10
"""Seam points per lip from the midline to the corner, without the corner."""


def lens_height(u: float | Float[ndarray, " n"]) -> float | Float[ndarray, " n"]:
    """Half height of the lens-shaped hole at u [mm of the domain]."""
    return 5.0 * (1 - (np.abs(u) / SEAM_U) ** 2.2)


def seam() -> Float[ndarray, "21 2"]:
    """Half seam in the domain: upper midline -> corner -> lower midline."""
    t = np.linspace(0, 1, COLUMNS + 1)
    u = SEAM_U * (0.45 * np.sin(t * np.pi / 2) + 0.55 * t)
    half = np.asarray(lens_height(u))
    upper = np.stack([u, SEAM_V + half], 1)
    lower = np.stack([u[-2::-1], SEAM_V - half[-2::-1]], 1)
    return np.concatenate([upper, lower])


class BagRing(NamedTuple):
    """A row of the oral cavity: points [mm], how much of the lips' motion it takes, jaw weight."""

    points: Float[ndarray, "21 3"]
    follow: Float[ndarray, " 21"]
    jaw: Float[ndarray, " 21"] | None
    """None: the seam's own weights."""


class _Section(NamedTuple):
    """Cross-section of the cavity: half width, heights above and below its axis, depth [mm]."""

    width: float
    up: float
    down: float
    front: float
    side: float
    """z at the midline and at the sides."""
    follow: float


_AXIS = -70.6
_SECTIONS = (
    _Section(28.5, 9.5, 10.0, 96.4, 80.0, 0.45),
    _Section(33.0, 13.5, 13.5, 93.7, 76.0, 0.08),
    _Section(36.5, 15.0, 15.5, 85.0, 69.0, 0.0),
    _Section(37.5, 15.5, 16.0, 67.0, 60.0, 0.0),
    _Section(35.0, 15.0, 16.0, 50.0, 45.0, 0.0),
    _Section(17.0, 9.0, 9.0, 40.0, 38.0, 0.0),
)
THROAT = np.array([0.0, -70.6, 37.0])


def bag(lips: Float[ndarray, "21 3"]) -> list[BagRing]:
    """Rows behind the closed seam `lips` [mm], front to back."""
    side = np.r_[np.ones(COLUMNS), 0.0, -np.ones(COLUMNS)]
    t = np.abs(lips[:, 0]) / lips[COLUMNS, 0]
    one = np.ones(len(lips))
    rings = []
    for inward, spread, follow in ((1.2, 0.15, 1.0), (2.6, 1.6, 0.85)):
        shift = np.stack([0 * t, side * spread * (1 - 0.6 * t), -inward + 0 * t], 1)
        rings.append(BagRing(lips + shift, follow * one, None))
    angle = np.pi / 2 * side * (1 - np.linspace(0, 1, COLUMNS + 1)[_column_index()])
    # all below the corners goes with the jaw, so that it never meets the lower teeth
    t = np.clip(0.5 - angle / 0.5, 0, 1)
    jaw = t * t * (3 - 2 * t)
    for width, up, down, front, lateral, follow in _SECTIONS:
        x = width * np.cos(angle) ** 0.6
        y = _AXIS + np.where(angle > 0, up, down) * np.sign(angle) * np.abs(np.sin(angle)) ** 0.5
        z = front + (lateral - front) * (x / width) ** 2
        rings.append(BagRing(np.stack([x, y, z], 1), follow * one, jaw))
    return rings


def _column_index() -> ndarray:
    """Distance from the midline of the 21 seam points, in columns."""
    return np.r_[np.arange(COLUMNS + 1), np.arange(COLUMNS)[::-1]]
