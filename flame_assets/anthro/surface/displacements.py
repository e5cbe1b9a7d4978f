"""Displacement fields over the controls: bumps for identity, listed moves for expressions."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from flame_assets.anthro.surface.control_set import ControlSet

Moves = Mapping[str, tuple[int | float, int | float, int | float]]
"""Control names, separated by blanks -> displacement of the left one [mm]."""


def bump(
    controls: ControlSet,
    centres: Sequence[str],
    direction: tuple[float, float, float],
    width: float | tuple[float, float, float],
) -> Float[ndarray, "c 3"]:
    """Gaussian bump around the nearest of some controls, the same on both sides of the face."""
    points = np.stack([controls.at(name) for name in centres])
    offset = (controls.positions[:, None] - points) / np.asarray(width, float)
    weight = np.exp(-0.5 * (offset**2).sum(axis=2)).max(axis=1)
    left = weight[:, None] * np.array(direction, float)
    total = weight + weight[controls.mirror]
    # a smooth union: bumps that meet on the midline are not counted twice
    union = np.maximum(weight, weight[controls.mirror]) / np.maximum(total, 1e-9)
    return (left + controls.mirrored(left)) * union[:, None]


def one_sided(controls: ControlSet, moves: Moves) -> Float[ndarray, "c 3"]:
    """The listed moves as they stand, on the left half only."""
    field = np.zeros_like(controls.positions)
    for names, move in moves.items():
        for name in names.split():
            field[controls.index[name]] += move
    return field


def two_sided(controls: ControlSet, moves: Moves) -> Float[ndarray, "c 3"]:
    """The listed moves on both sides."""
    left = one_sided(controls, moves)
    middle = np.abs(controls.positions[:, :1]) < 1e-6
    return np.where(middle, left, left + controls.mirrored(left))


def left_share(controls: ControlSet) -> Float[ndarray, " c"]:
    """Smooth step over +-12 mm about the midline: 1 on the left, 0 on the right."""
    t = np.clip(0.5 + controls.positions[:, 0] / 24, 0, 1)
    return t * t * (3 - 2 * t)
