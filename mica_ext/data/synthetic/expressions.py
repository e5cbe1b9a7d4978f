"""Expressions as people make them: whole movements, nearly symmetric, with a little of the rest.

ARKit-named weights are drawn from a mixture of movements. Independent weights would make faces that
nobody makes and hide the pairs that always come together.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Movement(NamedTuple):
    """One way to move the face: how often, and the range of each weight (both sides alike)."""

    share: float
    weights: Mapping[str, tuple[float, float]]


MOVEMENTS = (
    Movement(0.17, {}),
    Movement(
        0.13,
        {
            "mouthSmile": (0.25, 1.0),
            "cheekSquint": (0.0, 0.6),
            "eyeSquint": (0.0, 0.5),
            "mouthDimple": (0.0, 0.3),
        },
    ),
    Movement(
        0.15,
        {
            "mouthSmile": (0.4, 1.0),
            "jawOpen": (0.05, 0.35),
            "mouthUpperUp": (0.1, 0.7),
            "mouthLowerDown": (0.0, 0.5),
            "cheekSquint": (0.2, 0.8),
            "eyeSquint": (0.1, 0.7),
        },
    ),
    Movement(
        0.14,
        {
            "jawOpen": (0.05, 0.6),
            "mouthFunnel": (0.0, 0.5),
            "mouthLowerDown": (0.0, 0.5),
            "mouthUpperUp": (0.0, 0.3),
            "browInnerUp": (0.0, 0.4),
        },
    ),
    Movement(
        0.08,
        {
            "jawOpen": (0.4, 1.0),
            "browInnerUp": (0.2, 1.0),
            "browOuterUp": (0.2, 1.0),
            "eyeWide": (0.2, 1.0),
        },
    ),
    Movement(
        0.06,
        {
            "jawOpen": (0.5, 1.0),
            "mouthStretch": (0.1, 0.6),
            "mouthLowerDown": (0.2, 0.8),
            "mouthUpperUp": (0.2, 0.8),
            "browDown": (0.0, 0.8),
            "eyeSquint": (0.0, 0.8),
        },
    ),
    Movement(
        0.07,
        {
            "browDown": (0.4, 1.0),
            "noseSneer": (0.0, 0.7),
            "mouthPress": (0.0, 0.7),
            "eyeSquint": (0.1, 0.6),
            "mouthFrown": (0.0, 0.4),
        },
    ),
    Movement(
        0.06,
        {
            "mouthFrown": (0.3, 1.0),
            "browInnerUp": (0.2, 0.8),
            "mouthShrugLower": (0.0, 0.6),
            "browDown": (0.0, 0.3),
        },
    ),
    Movement(
        0.05,
        {"noseSneer": (0.3, 1.0), "mouthUpperUp": (0.2, 0.8), "browDown": (0.2, 0.7)},
    ),
    Movement(0.05, {"mouthPucker": (0.3, 1.0), "mouthFunnel": (0.0, 0.4)}),
    Movement(0.02, {"cheekPuff": (0.3, 1.0), "mouthPress": (0.0, 0.5)}),
    Movement(0.02, {"mouthRollLower": (0.2, 0.9), "mouthRollUpper": (0.0, 0.7)}),
)
_NO_PAIRS = ("jaw", "mouth", "eyeLookIn", "eyeLookOut")  # their two sides move unlike
BLINKING, HALF_CLOSED = 0.10, 0.25  # shares of faces with shut and with drooping lids


def draw_expression(generator: np.random.Generator, names: tuple[str, ...]) -> dict[str, float]:
    """Weights in [0, 1] by ARKit name, for those of `names` that take part."""
    shares = np.array([movement.share for movement in MOVEMENTS])
    movement = MOVEMENTS[generator.choice(len(MOVEMENTS), p=shares / shares.sum())]
    stems = {name: generator.uniform(*span) for name, span in movement.weights.items()}
    lids = generator.random()
    if lids < BLINKING:
        stems["eyeBlink"] = generator.uniform(0.8, 1.0)
    elif lids < HALF_CLOSED:
        stems["eyeBlink"] = generator.uniform(0.1, 0.6)
    for name, side in (("jawLeft", 1), ("jawRight", -1), ("mouthLeft", 1), ("mouthRight", -1)):
        stems[name] = max(0.0, side * generator.normal(0, 0.12))
    stems |= _gaze(generator)
    one_sided = generator.random() < 0.08
    weak = generator.choice(("Left", "Right"))
    weights = {}
    for name in names:
        stem, side = _side(name)
        value = stems.get(stem, 0.0)
        if generator.random() < 0.12:  # a trace of anything else
            value += generator.exponential(0.08)
        if side:
            value *= 1 + 0.12 * generator.standard_normal()
            if one_sided and side == weak:
                value *= 0.3
        if value > 0.005:
            weights[name] = float(np.clip(value, 0.0, 1.0))
    return weights


def _gaze(generator: np.random.Generator) -> dict[str, float]:
    """Both eyes turned alike; the lids follow the glance up and down."""
    up, left = generator.normal(0, 0.25, 2)
    return {
        "eyeLookUp": max(0.0, up),
        "eyeLookDown": max(0.0, -up),
        "eyeLookOutLeft": max(0.0, left),
        "eyeLookInRight": max(0.0, left),
        "eyeLookOutRight": max(0.0, -left),
        "eyeLookInLeft": max(0.0, -left),
    }


def _side(name: str) -> tuple[str, str]:
    for side in ("Left", "Right"):
        if name.endswith(side) and name[: -len(side)] not in _NO_PAIRS:
            return name[: -len(side)], side
    return name, ""
