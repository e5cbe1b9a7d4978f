"""From a detected face to everything that later stages read of the photo."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped, UInt8
from torch import Tensor

from mica_ext.models.types import AlignedFace
from mica_ext.preprocess.crop import arcface_input, encoder_input
from pacofr.faces.detect import Face
from pacofr.faces.face_mesh.topology import IBUG68
from pacofr.faces.landmarks68 import five_points

RECROP_THRESHOLD = 0.15
"""`disagreement` above which the detector's five points are not used at all; good ones: 0.1."""


class DetectedPoints(NamedTuple):
    """Points of one face."""

    points_px: Float[Tensor, "478 2"]
    """In the photo; see `pacofr.faces.face_mesh.topology`."""
    visibility: Float[Tensor, "7"]
    """Share of each of `landmarks.regions.REGIONS`' points that can be seen, 0 to 1."""
    error: Float[Tensor, "7"]
    """Expected error of each region's points [% of the eye distance]."""
    confidence: float
    """Probability that this is the photo of a face."""


PointDetector = Callable[[UInt8[np.ndarray, "H W 3"], Face], DetectedPoints]
"""Any source of points, such as `landmarks.detect.detect_points` with its network."""


def align_face(
    image: UInt8[np.ndarray, "H W 3"],
    face: Face,
    detect_points: PointDetector,
    *,
    exact_points: bool = False,
) -> AlignedFace:
    """Crops and points of one face of an RGB photo; without a batch dimension.

    ArcFace's crop is cut by the detector's five points, as it was trained. The encoder's is cut by
    the five that the dense points imply, which are steadier: expression networks learn on such
    crops, and read a photo's movements better in them.

    Args:
        image: the photo.
        face: detected or given.
        detect_points: reads the dense points.
        exact_points: cut both by the face's five points, whatever the dense ones say.
    """
    detected = detect_points(image, face)
    landmarks = detected.points_px[torch.from_numpy(IBUG68)]
    five, implied = face.points.astype(np.float64), five_points(landmarks.double().numpy())
    keep = exact_points or _disagreement(five, implied) < RECROP_THRESHOLD
    encoder = encoder_input(image, five if exact_points else implied)
    return AlignedFace(
        arcface=arcface_input(image, five if keep else implied),
        crop=encoder.crop,
        crop_to_image=encoder.crop_to_image,
        points_px=detected.points_px,
        landmarks_px=landmarks,
        visibility=detected.visibility,
        point_error=detected.error,
        confidence=torch.tensor(detected.confidence),
        image_size=torch.tensor(image.shape[:2]),
    )


def _disagreement(five: Float64[np.ndarray, "5 2"], other: Shaped[np.ndarray, "5 2"]) -> float:
    """Root mean square distance of five points, in distances of the other's eyes."""
    eyes = np.linalg.norm(other[1] - other[0])
    return float(np.sqrt(np.square(five - other).sum(1).mean()) / max(eyes, 1e-6))
