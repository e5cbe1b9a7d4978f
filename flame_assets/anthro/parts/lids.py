"""The lids: margin curve, lid surface pushed out by the globe, rims behind the margin.

The orbit's control points are set deep and the globe pushes the skin out to `SURFACE`; that alone
makes the crease of the upper lid and the bag of the lower. Behind the margin two rims turn in:
clear of the cornea where it can turn under them, down to the globe at the canthi (no holes there).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from flame_assets.anthro.parts import eyes

INNER_CANTHUS = np.array([18.6, -2.4, 82.4])
OUTER_CANTHUS = np.array([45.0, -0.6, 76.4])
UPPER_LIFT = 6.2
LOWER_DROP = 4.2
"""Height of the margins over the line between the canthi [mm]; a fissure of 10.3 mm."""
MARGIN = 13.5
"""Least distance of the margin from the eye centre [mm]."""
SURFACE = 13.9
"""Radius the lid skin is pushed out to [mm]."""
UPPER_BULGE = 1.2
"""How much thicker the upper lid is above its margin [mm]: tarsal plate and muscle."""
COUNT = 32
"""Points of the margin; every second one is a control."""
_REACH = 19.0


def smooth_maximum(
    a: Float[ndarray, " n"], b: Float[ndarray, " n"], width: float
) -> Float[ndarray, " n"]:
    """max(a, b) with the corner rounded over `width`."""
    h = np.clip(0.5 + 0.5 * (a - b) / width, 0, 1)
    return b * (1 - h) + a * h + width * h * (1 - h)


def margin() -> Float[ndarray, "32 3"]:
    """Lid margin of the left eye [mm]: inner canthus -> upper -> outer canthus -> lower."""
    t = np.linspace(0, 1, COUNT // 2 + 1)
    t = 0.5 - 0.5 * np.cos(np.pi * (0.06 + 0.88 * t))
    t = (t - t[0]) / (t[-1] - t[0])
    line = INNER_CANTHUS * (1 - t)[:, None] + OUTER_CANTHUS * t[:, None]
    upper, lower = line.copy(), line.copy()
    upper[:, 1] += UPPER_LIFT * np.sin(np.pi * t**0.95) ** 0.6
    lower[:, 1] -= LOWER_DROP * np.sin(np.pi * t**1.3) ** 0.8
    points = np.concatenate([upper, lower[-2:0:-1]])
    across = np.linalg.norm((points - eyes.CENTRE)[:, :2], axis=1)
    on_globe = eyes.CENTRE[2] + np.sqrt(np.maximum(MARGIN**2 - across**2, 0.0))
    points[:, 2] = smooth_maximum(on_globe, points[:, 2], 0.8)
    return push_out(points, MARGIN)


def push_out(points: Float[ndarray, "n 3"], radius: float) -> Float[ndarray, "n 3"]:
    """Move points nearer than `radius` to the left eye's centre radially out to it."""
    away = points - eyes.CENTRE
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    return eyes.CENTRE + away * (np.maximum(distance, radius) / distance)


def over_globe(points: Float[ndarray, "n 3"]) -> ndarray:
    """Boolean [n]: skin in front of the left eye that the globe pushes out."""
    away = points - eyes.CENTRE
    return (np.hypot(away[:, 0], away[:, 1]) < _REACH) & (away[:, 2] > -3)


def drape(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Lid skin pushed out smoothly to `SURFACE`, the upper lid's by `UPPER_BULGE` more."""
    away = points - eyes.CENTRE
    distance = np.linalg.norm(away, axis=1)
    t = np.clip((away[:, 1] - 4.0) / 3.0, 0, 1)
    pushed = smooth_maximum(distance, SURFACE + UPPER_BULGE * t * t * (3 - 2 * t), 1.2)
    return eyes.CENTRE + away * (pushed / distance)[:, None]


def laid_over_globe(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """The skin, with what lies in front of the left globe draped over it."""
    over, laid = over_globe(points), points.copy()
    laid[over] = drape(points[over])
    return laid


class Rims(NamedTuple):
    """The two rows behind the margin and the least radius [mm] each may have when the lid moves."""

    first: Float[ndarray, "32 3"]
    second: Float[ndarray, "32 3"]
    first_radius: Float[ndarray, " 32"]
    second_radius: Float[ndarray, " 32"]
    corner: Float[ndarray, " 32"]
    """1 at the canthi, where the second row holds on to the globe, 0 along the lids."""


def rims(points: Float[ndarray, "32 3"]) -> Rims:
    """Rows behind the margin `points`; the lids' thickness and their hold on the globe."""
    away = points - eyes.CENTRE
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    unit = away / distance
    corner = np.clip((np.hypot(away[:, 0], away[:, 1]) - 10.2) / 1.8, 0, 1)[:, None]
    clear = eyes.RADIUS + eyes.CORNEA + 0.05
    first_radius = (1 - corner) * clear + corner * np.maximum(distance - 1.0, eyes.RADIUS + 0.1)
    first = eyes.CENTRE + unit * first_radius
    outward = points - points.mean(axis=0)
    outward[:, 2] = 0
    second_radius = (1 - corner) * clear + corner * (eyes.RADIUS - 0.06)
    second = eyes.CENTRE + unit * 11.9 + (1 - corner) * outward * 0.30 - eyes.CENTRE
    second *= second_radius / np.linalg.norm(second, axis=1, keepdims=True)
    return Rims(first, eyes.CENTRE + second, first_radius[:, 0], second_radius[:, 0], corner[:, 0])
