"""Whether a face is written, written with a mark, or rejected: the one place that decides.

Thresholds are measured on photos (Helen, London, LFW), on the same photos rotated, darkened,
blurred, covered and shrunk, and on pictures without a face.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Verdict = Literal["accepted", "unsure", "rejected"]

SMALL_FACE_PX = 64.0
"""Longer side of the box [px] below which a face gives a coarse result."""
MIN_CONFIDENCE = 0.5
"""Probability of a face below which its points are unsure."""
REJECTED_CONFIDENCE = 0.1
"""Points below are a guess: what was detected is no face."""
REJECTED_SCORE, REJECTED_CONFIDENCE_AT_LOW_SCORE = 0.95, 0.25
"""The same, where the detector was unsure, too."""
HIDDEN_BELOW = {
    "right_eye": 0.65,
    "left_eye": 0.65,
    "right_brow": 0.5,
    "left_brow": 0.5,
    "nose": 0.5,
    "mouth": 0.6,
    "contour": 0.4,
}
"""Share of a region's points seen below which it counts as hidden; regions of
`landmarks.regions`."""
MAX_RESIDUAL = 0.08
"""Fitted heads further from the landmarks are no likeness; those of faces: 0.02 to 0.055."""
MAX_ROLL_DEGREES = 120.0
"""Faces rotated further are upside down."""
DARK_LUMA = 50.0
"""Faces whose 95th percentile of luma is lower are dark; those of the same photos: 72 or more."""


class FaceSignals(NamedTuple):
    """How well a face was seen."""

    score: float
    """Of the detector, 0 to 1."""
    confidence: float
    """Probability that this is the photo of a face."""
    visibility: dict[str, float]
    """Share of each region's points that can be seen, 0 to 1; see `landmarks.regions`."""
    residual: float
    """Mean distance of fitted to detected landmarks, in outer eye corner distances."""
    size_px: float
    """Longer side of the detected box [px]."""
    luma: float
    """95th percentile of the face's luma, 0 to 255."""
    roll_degrees: float
    """Clockwise rotation in the image plane by the landmarks; about 180: upside down."""

    @property
    def hidden(self) -> list[str]:
        """Regions of the face that are mostly covered or turned away."""
        return [name for name, seen in self.visibility.items() if seen < HIDDEN_BELOW[name]]


class Quality(NamedTuple):
    """The verdict on one face, and why it is not plainly accepted."""

    verdict: Verdict
    reasons: tuple[str, ...]


def assess_quality(signals: FaceSignals) -> Quality:
    """Decide on one face: rejected if it is probably none, unsure if anything speaks against it."""
    confidence = f"certainty {signals.confidence:.2f}; faces have {MIN_CONFIDENCE} or more"
    detected = signals.score >= REJECTED_SCORE
    if signals.confidence < (REJECTED_CONFIDENCE if detected else REJECTED_CONFIDENCE_AT_LOW_SCORE):
        return Quality("rejected", (f"probably no face: the landmarks are a guess ({confidence})",))
    reasons = []
    if signals.confidence < MIN_CONFIDENCE:
        reasons.append(
            f"the landmarks are unsure ({confidence}); look at the result before you use it"
        )
    if signals.residual > MAX_RESIDUAL:
        reasons.append("the head does not fit the landmarks; look at the result before you use it")
    if signals.hidden:
        regions = ", ".join(signals.hidden).replace("_", " ")
        reasons.append(f"hidden in part: {regions}; the result is a guess there")
    if signals.size_px < SMALL_FACE_PX:
        reasons.append("the face is small; expect a coarse result")
    if signals.luma < DARK_LUMA:
        reasons.append("the face is dark; expect a coarse result, or brighten the photo")
    if abs(signals.roll_degrees) > MAX_ROLL_DEGREES:
        reasons.append("the face is upside down; look at the result, or turn the photo")
    return Quality("unsure" if reasons else "accepted", tuple(reasons))


def face_luma(image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, "4"]) -> float:
    """95th percentile of luma inside a face box, 0 to 255; 0 for a box outside the image."""
    x0, y0, x1, y1 = np.clip(box.astype(int), 0, None)
    part = image[y0 : y1 + 1, x0 : x1 + 1]
    if part.size == 0:
        return 0.0
    step = max(max(part.shape[:2]) // 256, 1)
    luma = cv2.cvtColor(np.ascontiguousarray(part[::step, ::step]), cv2.COLOR_RGB2GRAY)
    return float(np.percentile(luma, 95))


def roll_degrees(landmarks: Float[np.ndarray, "68 2"]) -> float:
    """Clockwise rotation of a face in the image plane, from its eyes and mouth."""
    eyes = (landmarks[36:42].mean(0) + landmarks[42:48].mean(0)) / 2
    down = landmarks[48:68].mean(0) - eyes
    return float(np.degrees(np.arctan2(-down[0], down[1])))
