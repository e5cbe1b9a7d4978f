"""From a detected face to everything that later stages read of the photo."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mica_ext.models.types import AlignedFace
from mica_ext.preprocess.crop import FaceCrop
from pacofr.faces.detect import Face


class DetectedLandmarks(NamedTuple):
    """Landmarks of one face and the crop that they were read in."""

    landmarks_px: Float[Tensor, "68 2"]
    """iBUG order, in the photo."""
    crop: FaceCrop
    confidence: float
    """Of the landmark network: higher is better."""


LandmarkDetector = Callable[[UInt8[np.ndarray, "H W 3"], Face], DetectedLandmarks]
"""Any source of landmarks, such as `landmarks.detect.detect_landmarks` with its network."""


def align_face(
    image: UInt8[np.ndarray, "H W 3"], face: Face, detect_landmarks: LandmarkDetector
) -> AlignedFace:
    """Crops and landmarks of one detected face of an RGB photo; without a batch dimension."""
    detected = detect_landmarks(image, face)
    return AlignedFace(
        arcface=detected.crop.arcface,
        crop=detected.crop.face,
        crop_to_image=detected.crop.crop_to_image,
        landmarks_px=detected.landmarks_px,
        confidence=torch.tensor(detected.confidence),
        image_size=torch.tensor(image.shape[:2]),
    )
