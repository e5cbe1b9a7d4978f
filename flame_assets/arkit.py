"""ARKit's expressions by name, and their weights as parameters of a head.

jawOpen and the eyeLook shapes are rotations of the jaw and eye joints as well as blend shapes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from flame_assets.errors import UserError

# fmt: off
PAIRS = [
    "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide",
    "browDown", "browOuterUp", "cheekSquint", "noseSneer", "mouthSmile", "mouthFrown",
    "mouthDimple", "mouthStretch", "mouthPress", "mouthLowerDown", "mouthUpperUp",
]
"""Shapes of one side: ARKit names them with Left or Right behind."""
SINGLES = [
    "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker",
    "mouthLeft", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "browInnerUp", "cheekPuff",
]
"""Shapes of the whole face."""
# fmt: on
EXPRESSIONS: tuple[str, ...] = tuple(
    sorted([name + side for name in PAIRS for side in ("Left", "Right")] + SINGLES)
)
"""ARKit's names, sorted; all of its 52 but tongueOut."""

TONGUE_OUT = "tongueOut"
"""The one ARKit expression that no head here needs to have."""

OPPOSITES: tuple[tuple[str, str], ...] = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    *((f"eyeBlink{side}", f"eyeWide{side}") for side in ("Left", "Right")),
    *((f"eyeSquint{side}", f"eyeWide{side}") for side in ("Left", "Right")),
    *((f"mouthSmile{side}", f"mouthFrown{side}") for side in ("Left", "Right")),
    *((f"mouthStretch{side}", "mouthPucker") for side in ("Left", "Right")),
    *((f"browDown{side}", f"browOuterUp{side}") for side in ("Left", "Right")),
)
"""Expressions that faces do not make at once."""

JAW_OPEN = float(np.radians(19.0))
"""Rotation about x of the jaw joint at jawOpen = 1 [rad]."""
_LOOK_UP, _LOOK_DOWN = np.radians(22.0), np.radians(28.0)
_LOOK_IN, _LOOK_OUT = np.radians(30.0), np.radians(30.0)
"""Rotation of an eye at weight 1 [rad]."""


class ArkitPose(NamedTuple):
    """Anthro's parameters for a set of ARKit weights; poses are axis-angle [rad]."""

    expression: Float32[ndarray, " E"]
    jaw_pose: Float32[ndarray, "3"]
    left_eye_pose: Float32[ndarray, "3"]
    right_eye_pose: Float32[ndarray, "3"]


def is_arkit_name(name: str) -> bool:
    """Whether `name` is one of ARKit's 52."""
    return name == TONGUE_OUT or name in EXPRESSIONS


def arkit(weights: Mapping[str, int | float], names: tuple[str, ...] = EXPRESSIONS) -> ArkitPose:
    """ARKit weights by name, in [0, 1], as parameters of a head of the convention "arkit".

    `names` are the head's expressions: the order of the result. Absent weights are 0; those of
    expressions that the head lacks move its joints only.
    """
    unknown = sorted(name for name in weights if not is_arkit_name(name))
    if unknown:
        raise UserError(
            f"expected ARKit expression names such as {EXPRESSIONS[0]}, got {', '.join(unknown)}; "
            "see flame_assets.arkit.EXPRESSIONS for all of them"
        )

    def weight(name: str) -> float:
        return float(weights.get(name, 0.0))

    expression = np.array([weight(name) for name in names], np.float32)
    eyes = []
    for side, outward in (("Left", 1.0), ("Right", -1.0)):
        down = _LOOK_DOWN * weight(f"eyeLookDown{side}") - _LOOK_UP * weight(f"eyeLookUp{side}")
        out = _LOOK_OUT * weight(f"eyeLookOut{side}") - _LOOK_IN * weight(f"eyeLookIn{side}")
        eyes.append(np.array([down, outward * out, 0.0], np.float32))
    jaw_pose = np.array([JAW_OPEN * weight("jawOpen"), 0.0, 0.0], np.float32)
    return ArkitPose(expression, jaw_pose, eyes[0], eyes[1])


def eye_look_weights(
    left_eye_pose: Float[ndarray, "B 3"], right_eye_pose: Float[ndarray, "B 3"]
) -> dict[str, Float[ndarray, " B"]]:
    """The eyeLook weights, in [0, 1], of eye rotations [rad]: the inverse of `arkit`'s."""
    weights = {}
    for side, outward, pose in (("Left", 1.0, left_eye_pose), ("Right", -1.0, right_eye_pose)):
        down, out = pose[:, 0], outward * pose[:, 1]
        for name, angle, most in (
            ("Down", down, _LOOK_DOWN),
            ("Up", -down, _LOOK_UP),
            ("Out", out, _LOOK_OUT),
            ("In", -out, _LOOK_IN),
        ):
            weights[f"eyeLook{name}{side}"] = (angle / most).clip(0, 1)
    return weights
