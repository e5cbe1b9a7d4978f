"""Landmarks of a detected face, also where the detector was well off it.

One look suffices for a good detection. When the points found imply another crop than the one looked
at, the face is cut out anew around them and looked at again; when the network is then still unsure,
as with a face that the detector took to be upside down, it is shown the crop in all four turns.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped, UInt8
from torch import Tensor

from mica_ext.landmarks.network import LandmarkNetwork
from mica_ext.preprocess.crop import FaceCrop, crop_points, move_points
from pacofr.faces.align import five_points
from pacofr.faces.detect import Face

FAR = 0.15
"""Disagreement about the five points that calls for another look; good detections: under 0.1."""
UNSURE = 0.10
"""Certainty of the network below which the face may be turned; upright ones: 0.114 or more."""
LOOKS = 4


class Found(NamedTuple):
    """Landmarks of one face and the crop they were seen in."""

    landmarks_px: Float[Tensor, "68 2"]
    """In the photo."""
    crop: FaceCrop
    certainty: float
    """Of the network: higher is better, 0.10 to 0.20 for faces."""


@torch.no_grad()
def find_landmarks(
    network: LandmarkNetwork, image: UInt8[np.ndarray, "H W 3"], face: Face
) -> Found:
    """Landmarks of `face`; one look at most faces."""
    five = face.points.astype(np.float64)
    found = _follow(network, image, five)
    if found.certainty >= UNSURE:
        return found
    others = [_follow(network, image, _turned(five, quarters)) for quarters in (1, 2, 3)]
    return max([found, *others], key=lambda each: each.certainty)


def _follow(
    network: LandmarkNetwork, image: UInt8[np.ndarray, "H W 3"], five: Float64[np.ndarray, "5 2"]
) -> Found:
    """Look until crop and landmarks agree, at most four times."""
    device = next(network.parameters()).device
    for looks in range(1, LOOKS + 1):
        crop = crop_points(image, five)
        points, certainty = network.look(crop.face[None].to(device))
        landmarks = move_points(crop.crop_to_image, points[0].cpu())
        implied = five_points(landmarks.double().numpy())
        if looks == LOOKS or disagreement(five, implied) < FAR or not _likely(five, implied):
            break
        five = implied
    return Found(landmarks, crop, float(certainty[0]))


def _likely(five: Shaped[np.ndarray, "5 2"], implied: Shaped[np.ndarray, "5 2"]) -> bool:
    """Can the detector have been that far off? Another face's size means nothing was found."""
    ratio = np.linalg.norm(implied[1] - implied[0]) / max(np.linalg.norm(five[1] - five[0]), 1e-6)
    return bool(0.5 < ratio < 2.0)


def disagreement(five: Shaped[np.ndarray, "5 2"], other: Shaped[np.ndarray, "5 2"]) -> float:
    """Root mean square distance of five points, in distances of the other's eyes."""
    eyes = np.linalg.norm(other[1] - other[0])
    return float(np.sqrt(np.square(five - other).sum(1).mean()) / max(eyes, 1e-6))


def _turned(five: Float64[np.ndarray, "5 2"], quarters: int) -> Float64[np.ndarray, "5 2"]:
    """The points turned about their middle by quarter turns."""
    middle = five.mean(0)
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return (five - middle) @ np.linalg.matrix_power(quarter, quarters) + middle
