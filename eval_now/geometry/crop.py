"""The part of a scan that the NoW benchmark evaluates: a sphere around the nose."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class CropSphere(NamedTuple):
    """Centre and radius [mm] of the evaluated region."""

    centre: Float[np.ndarray, " 3"]
    radius: float


def crop_sphere(landmarks: Float[np.ndarray, "7 3"]) -> CropSphere:
    """The benchmark's crop, from the scan's seven landmarks.

    With b = midpoint of the inner eye corners and n = nose bottom: centre n + 0.3 (b - n), radius
    1.4 (distance of the outer eye corners + |b - n|) / 2.
    """
    bridge = (landmarks[1] + landmarks[2]) / 2
    eyes = np.linalg.norm(landmarks[0] - landmarks[3])
    radius = 1.4 * (eyes + np.linalg.norm(bridge - landmarks[4])) / 2
    return CropSphere(landmarks[4] + 0.3 * (bridge - landmarks[4]), float(radius))


def crop_mask(
    vertices: Float[np.ndarray, "V 3"], landmarks: Float[np.ndarray, "7 3"]
) -> Bool[np.ndarray, " V"]:
    """Which scan vertices lie inside or on the crop sphere."""
    sphere = crop_sphere(landmarks)
    return np.linalg.norm(vertices - sphere.centre, axis=1) <= sphere.radius
