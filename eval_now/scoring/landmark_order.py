"""Detection of commonly mistaken orders of a prediction's seven landmarks."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval_now.geometry.similarity import fit_similarity

Landmarks = Float[np.ndarray, "7 3"]


class OrderCheck(NamedTuple):
    """How a prediction's landmarks fit those of the scan.

    rms_mm: residual of the least-squares similarity in the given order, reflection allowed as in
    the benchmark. reflected: that similarity is a reflection. likely_order: name of a mistaken
    order that would explain the landmarks much better, or None.
    """

    rms_mm: float
    reflected: bool
    likely_order: str | None


MISTAKEN_ORDERS = {
    "left and right swapped": (3, 2, 1, 0, 4, 6, 5),
    "eyes swapped": (3, 2, 1, 0, 4, 5, 6),
    "eyes swapped, their corners not": (2, 3, 0, 1, 4, 5, 6),
    "mouth corners swapped": (0, 1, 2, 3, 4, 6, 5),
    "inner and outer eye corners swapped": (1, 0, 3, 2, 4, 5, 6),
    "nose after the mouth": (0, 1, 2, 3, 5, 6, 4),
    "nose first": (4, 0, 1, 2, 3, 5, 6),
}
"""Row k of such a file holds landmark order[k]."""


def check_order(landmarks: Landmarks, scan_landmarks: Landmarks) -> OrderCheck:
    """Compare the given order with the mistaken ones that a proper rotation explains."""
    rms, reflected = _fit_residual(landmarks, scan_landmarks)
    proper: dict[str, float] = {}
    for name, order in MISTAKEN_ORDERS.items():
        reordered_rms, is_reflection = _fit_residual(landmarks[np.argsort(order)], scan_landmarks)
        if not is_reflection:
            proper[name] = reordered_rms
    best = min(proper, key=lambda name: proper[name], default=None)
    if best is None:
        return OrderCheck(rms, reflected, None)
    # Faces are nearly symmetric: a mirrored order fits about as well once a reflection undoes it.
    mistaken = proper[best] < (1.5 * rms + 1.0 if reflected else 0.5 * rms)
    return OrderCheck(rms, reflected, best if mistaken else None)


def _fit_residual(landmarks: Landmarks, scan_landmarks: Landmarks) -> tuple[float, bool]:
    """RMS [mm] of the least-squares similarity, and whether it is a reflection."""
    fit = fit_similarity(landmarks, scan_landmarks)
    residual = fit.apply(landmarks) - scan_landmarks
    rms = float(np.sqrt((residual**2).sum(axis=1).mean()))
    return rms, bool(np.linalg.det(fit.rotation) < 0)
