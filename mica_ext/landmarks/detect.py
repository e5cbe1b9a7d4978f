"""68 landmarks of a detected face, also where the detector was well off it.

One crop suffices for a good detection. Where the landmarks imply another crop than the one they
were read in, the face is cropped anew around them; where the network is then still not confident,
as for a face that the detector took to be upside down, all four orientations are tried.
"""

import numpy as np
import torch
from jaxtyping import Float64, Shaped, UInt8

from mica_ext.landmarks.network import LandmarkNetwork
from mica_ext.preprocess.align_face import DetectedLandmarks
from mica_ext.preprocess.crop import crop_points, move_points
from pacofr.faces.detect import Face
from pacofr.faces.landmarks68 import five_points

RECROP_THRESHOLD = 0.15
"""`disagreement` of the five points above which the face is cropped again; good detections: 0.1."""
MIN_CONFIDENCE = 0.10
"""Below it other orientations are tried, and users are warned; upright faces: 0.114 or more."""
MAX_CROPS = 4


@torch.no_grad()
def detect_landmarks(
    network: LandmarkNetwork, image: UInt8[np.ndarray, "H W 3"], face: Face
) -> DetectedLandmarks:
    """The landmarks of `face` in an RGB photo; one pass of the network for most faces.

    The confidence is the mean peak of the heat maps, 0.10 to 0.20 for faces.
    """
    five = face.points.astype(np.float64)
    detected = _detect_recropping(network, image, five)
    if detected.confidence >= MIN_CONFIDENCE:
        return detected
    turned = [_detect_recropping(network, image, _turned(five, quarters)) for quarters in (1, 2, 3)]
    return max([detected, *turned], key=lambda each: each.confidence)


def _detect_recropping(
    network: LandmarkNetwork, image: UInt8[np.ndarray, "H W 3"], five: Float64[np.ndarray, "5 2"]
) -> DetectedLandmarks:
    """Crop and detect until crop and landmarks agree, at most `MAX_CROPS` times."""
    device = next(network.parameters()).device
    for crops in range(1, MAX_CROPS + 1):
        crop = crop_points(image, five)
        points, confidence = network.predict(crop.face[None].to(device))
        landmarks = move_points(crop.crop_to_image, points[0].cpu())
        implied = five_points(landmarks.double().numpy())
        if (
            crops == MAX_CROPS
            or disagreement(five, implied) < RECROP_THRESHOLD
            or not _is_plausible(five, implied)
        ):
            break
        five = implied
    return DetectedLandmarks(landmarks, crop, float(confidence[0]))


def _is_plausible(five: Shaped[np.ndarray, "5 2"], implied: Shaped[np.ndarray, "5 2"]) -> bool:
    """Whether the eye distance changed less than twofold: else the landmarks are no face's."""
    ratio = np.linalg.norm(implied[1] - implied[0]) / max(np.linalg.norm(five[1] - five[0]), 1e-6)
    return bool(0.5 < ratio < 2.0)


def disagreement(five: Shaped[np.ndarray, "5 2"], other: Shaped[np.ndarray, "5 2"]) -> float:
    """Root mean square distance of five points, in distances of the other's eyes."""
    eyes = np.linalg.norm(other[1] - other[0])
    return float(np.sqrt(np.square(five - other).sum(1).mean()) / max(eyes, 1e-6))


def _turned(five: Float64[np.ndarray, "5 2"], quarters: int) -> Float64[np.ndarray, "5 2"]:
    """The points rotated about their mean by quarter turns."""
    centre = five.mean(0)
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return (five - centre) @ np.linalg.matrix_power(quarter, quarters) + centre
