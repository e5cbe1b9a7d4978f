"""Named warnings: what a result's reader must know before believing its numbers."""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.geometry.align import Alignment, landmark_similarity
from eval_now.io.landmarks import check_order

Name = Literal[
    "landmark_order",  # another order of the seven points would fit much better
    "reflection",  # the landmark fit mirrors the prediction
    "landmarks_off_surface",  # landmarks and mesh do not belong together (units?)
    "unit",  # the prediction is 10 or 1000 times too large or small for the unit it claims
    "not_neutral",  # the predictor says that its mesh wears an expression
    "large_turn",  # the refinement turned further than landmarks can be wrong
    "step_limit",  # the refinement was cut short
    "two_meshes",  # both .obj and .ply; the .obj counts
]

LARGEST_TURN_DEGREES = 30.0
FARTHEST_LANDMARK_MM = 15.0


class Warned(NamedTuple):
    """One warning about one image (protocol empty: about the prediction itself)."""

    name: Name
    image: str
    protocol: str
    text: str


def turn_degrees(rotation: Float[np.ndarray, "3 3"]) -> float:
    """Angle of a rotation."""
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1) / 2))))


def inspect_landmarks(
    image: str, landmarks: Float[np.ndarray, "7 3"], scan_landmarks: Float[np.ndarray, "7 3"]
) -> list[Warned]:
    """Order and mirroring of a prediction's landmarks."""
    check = check_order(landmarks, scan_landmarks)
    found: list[Warned] = []
    if check.better is not None:
        text = (
            f"the landmarks look like '{check.better}'; as given they fit to {check.rms_mm:.1f} mm"
        )
        found.append(Warned("landmark_order", image, "", text))
    if check.reflected:
        text = (
            "the landmark fit mirrors the prediction (the benchmark allows it; is x the left side?)"
        )
        found.append(Warned("reflection", image, "", text))
    return found


def inspect_unit(
    image: str,
    landmarks: Float[np.ndarray, "7 3"],
    scan_landmarks: Float[np.ndarray, "7 3"],
    unit_mm: float,
) -> list[Warned]:
    """Whether the face has about its natural size in the unit that the prediction claims."""
    power = round(math.log10(landmark_similarity(landmarks, scan_landmarks).scale / unit_mm))
    if not power:
        return []
    text = (
        f"at {unit_mm:g} mm per unit the face is 10^{-power} times its natural size; check --unit"
    )
    return [Warned("unit", image, "", text)]


def inspect_alignment(
    image: str, protocol: str, alignment: Alignment, fitted_scale: bool
) -> list[Warned]:
    """What the movement from prediction to scan gives away."""
    found: list[Warned] = []
    turn = turn_degrees(alignment.refinement.rotation)
    if turn > LARGEST_TURN_DEGREES:
        text = (
            f"the refinement turned the prediction by {turn:.0f} degrees: the landmarks are wrong"
        )
        found.append(Warned("large_turn", image, protocol, text))
    if not alignment.stopped:
        text = f"the refinement was cut off after {alignment.steps} steps"
        found.append(Warned("step_limit", image, protocol, text))
    if fitted_scale and alignment.landmark_gaps.max() > FARTHEST_LANDMARK_MM:
        text = (
            f"landmark {int(alignment.landmark_gaps.argmax())} lies "
            f"{alignment.landmark_gaps.max():.0f} mm off the predicted surface: "
            "landmarks and mesh in different units or frames?"
        )
        found.append(Warned("landmarks_off_surface", image, protocol, text))
    return found
