"""Checks of a prediction and its alignment that end in named warnings."""

import math

import numpy as np
from jaxtyping import Float

from eval_now.data.image_issues import ImageWarning
from eval_now.geometry.align import Alignment
from eval_now.geometry.rotation import rotation_angle_degrees
from eval_now.geometry.similarity import fit_similarity
from eval_now.scoring.landmark_order import check_order

MAX_REFINEMENT_DEGREES = 30.0
MAX_LANDMARK_DISTANCE_MM = 15.0


def check_landmarks(
    image: str, landmarks: Float[np.ndarray, "7 3"], scan_landmarks: Float[np.ndarray, "7 3"]
) -> list[ImageWarning]:
    """Warn of a mistaken order or a reflection of a prediction's landmarks."""
    check = check_order(landmarks, scan_landmarks)
    warnings: list[ImageWarning] = []
    if check.likely_order is not None:
        text = (
            f"the landmarks look like '{check.likely_order}'; "
            f"as given they fit to {check.rms_mm:.1f} mm"
        )
        warnings.append(ImageWarning("landmark_order", image, "", text))
    if check.reflected:
        text = (
            "the landmark fit mirrors the prediction (the benchmark allows it; is x the left side?)"
        )
        warnings.append(ImageWarning("reflection", image, "", text))
    return warnings


def check_unit(
    image: str,
    landmarks: Float[np.ndarray, "7 3"],
    scan_landmarks: Float[np.ndarray, "7 3"],
    unit_mm: float,
) -> list[ImageWarning]:
    """Warn if the face is larger or smaller than natural by a power of ten in the stated unit."""
    power = round(math.log10(fit_similarity(landmarks, scan_landmarks).scale / unit_mm))
    if not power:
        return []
    text = (
        f"at {unit_mm:g} mm per unit the face is 10^{-power} times its natural size; check --unit"
    )
    return [ImageWarning("unit", image, "", text)]


def check_alignment(
    image: str, protocol: str, alignment: Alignment, fitted_scale: bool
) -> list[ImageWarning]:
    """Warn of an implausible or unfinished alignment."""
    warnings: list[ImageWarning] = []
    angle = rotation_angle_degrees(alignment.refinement.rotation)
    if angle > MAX_REFINEMENT_DEGREES:
        text = (
            f"the refinement turned the prediction by {angle:.0f} degrees: the landmarks are wrong"
        )
        warnings.append(ImageWarning("large_turn", image, protocol, text))
    if not alignment.converged:
        text = f"the refinement was cut off after {alignment.steps} steps"
        warnings.append(ImageWarning("step_limit", image, protocol, text))
    distances = alignment.landmark_distances
    if fitted_scale and distances.max() > MAX_LANDMARK_DISTANCE_MM:
        text = (
            f"landmark {int(distances.argmax())} lies {distances.max():.0f} mm off the predicted "
            "surface: landmarks and mesh in different units or frames?"
        )
        warnings.append(ImageWarning("landmarks_off_surface", image, protocol, text))
    return warnings
