"""Random natural expressions: ARKit weights from a mixture of prototypes, nearly symmetric.

The prototypes carry the correlations of real expressions (a smile lifts both mouth corners and the
cheeks), which independently drawn weights lack.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Prototype(NamedTuple):
    """A component of the mixture."""

    probability: float
    ranges: Mapping[str, tuple[float, float]]
    """Uniform range of each weight; names without Left or Right are for both sides."""


PROTOTYPES = (
    Prototype(0.17, {}),
    Prototype(
        0.13,
        {
            "mouthSmile": (0.25, 1.0),
            "cheekSquint": (0.0, 0.6),
            "eyeSquint": (0.0, 0.5),
            "mouthDimple": (0.0, 0.3),
        },
    ),
    Prototype(
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
    Prototype(
        0.14,
        {
            "jawOpen": (0.05, 0.6),
            "mouthFunnel": (0.0, 0.5),
            "mouthLowerDown": (0.0, 0.5),
            "mouthUpperUp": (0.0, 0.3),
            "browInnerUp": (0.0, 0.4),
        },
    ),
    Prototype(
        0.08,
        {
            "jawOpen": (0.4, 1.0),
            "browInnerUp": (0.2, 1.0),
            "browOuterUp": (0.2, 1.0),
            "eyeWide": (0.2, 1.0),
        },
    ),
    Prototype(
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
    Prototype(
        0.07,
        {
            "browDown": (0.4, 1.0),
            "noseSneer": (0.0, 0.7),
            "mouthPress": (0.0, 0.7),
            "eyeSquint": (0.1, 0.6),
            "mouthFrown": (0.0, 0.4),
        },
    ),
    Prototype(
        0.06,
        {
            "mouthFrown": (0.3, 1.0),
            "browInnerUp": (0.2, 0.8),
            "mouthShrugLower": (0.0, 0.6),
            "browDown": (0.0, 0.3),
        },
    ),
    Prototype(
        0.05,
        {"noseSneer": (0.3, 1.0), "mouthUpperUp": (0.2, 0.8), "browDown": (0.2, 0.7)},
    ),
    Prototype(0.05, {"mouthPucker": (0.3, 1.0), "mouthFunnel": (0.0, 0.4)}),
    Prototype(0.02, {"cheekPuff": (0.3, 1.0), "mouthPress": (0.0, 0.5)}),
    Prototype(0.02, {"mouthRollLower": (0.2, 0.9), "mouthRollUpper": (0.0, 0.7)}),
)
ASYMMETRIC = ("jaw", "mouth", "eyeLookIn", "eyeLookOut")
"""Stems whose Left and Right are opposite movements, not two sides of one."""
BLINKING, HALF_CLOSED = 0.10, 0.25
"""Cumulative probabilities of closed and of half-closed lids."""


def sample_expression(generator: np.random.Generator, names: tuple[str, ...]) -> dict[str, float]:
    """ARKit weights in (0.005, 1] by name, for `names` only; absent ones are zero."""
    p = np.array([prototype.probability for prototype in PROTOTYPES])
    prototype = PROTOTYPES[generator.choice(len(PROTOTYPES), p=p / p.sum())]
    stems = {name: generator.uniform(*limits) for name, limits in prototype.ranges.items()}
    lids = generator.random()
    if lids < BLINKING:
        stems["eyeBlink"] = generator.uniform(0.8, 1.0)
    elif lids < HALF_CLOSED:
        stems["eyeBlink"] = generator.uniform(0.1, 0.6)
    for name, side in (("jawLeft", 1), ("jawRight", -1), ("mouthLeft", 1), ("mouthRight", -1)):
        stems[name] = max(0.0, side * generator.normal(0, 0.12))
    stems |= _sample_gaze(generator)
    one_sided = generator.random() < 0.08
    weak = generator.choice(("Left", "Right"))
    weights = {}
    for name in names:
        stem, side = _split_side(name)
        value = stems.get(stem, 0.0)
        if generator.random() < 0.12:  # small activations of other muscles
            value += generator.exponential(0.08)
        if side:
            value *= 1 + 0.12 * generator.standard_normal()
            if one_sided and side == weak:
                value *= 0.3
        if value > 0.005:
            weights[name] = float(np.clip(value, 0.0, 1.0))
    return weights


def _sample_gaze(generator: np.random.Generator) -> dict[str, float]:
    """eyeLook weights of a conjugate gaze."""
    up, left = generator.normal(0, 0.25, 2)
    return {
        "eyeLookUp": max(0.0, up),
        "eyeLookDown": max(0.0, -up),
        "eyeLookOutLeft": max(0.0, left),
        "eyeLookInRight": max(0.0, left),
        "eyeLookOutRight": max(0.0, -left),
        "eyeLookInLeft": max(0.0, -left),
    }


def _split_side(name: str) -> tuple[str, str]:
    """Stem and side of a name; the side is empty for expressions of the whole face."""
    for side in ("Left", "Right"):
        if name.endswith(side) and name[: -len(side)] not in ASYMMETRIC:
            return name[: -len(side)], side
    return name, ""
