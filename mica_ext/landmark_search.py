"""Landmarks of a detected face, also where the detector was well off it.

One look suffices for a good detection. When the points found imply another crop than the one looked
at (a fringe taken for eyes), the face is cut out anew around them and looked at again.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from mica_ext.crop import FaceCrop, crop_points, move_points
from mica_ext.landmarks import LandmarkNetwork
from pacofr.faces.align import five_points
from pacofr.faces.detect import Face

FAR = 0.15
"""Mean disagreement about the five points, in distances of the eyes, that calls for another look;
good detections stay under 0.1."""
LOOKS = 4


class Found(NamedTuple):
    """Landmarks of one face and the crop they were seen in."""

    landmarks_px: Float[Tensor, "68 2"]
    """In the photo."""
    crop: FaceCrop


@torch.inference_mode()
def find_landmarks(
    network: LandmarkNetwork, image: UInt8[np.ndarray, "H W 3"], face: Face
) -> Found:
    """Look at `face` until crop and landmarks agree, at most four times."""
    device = next(network.parameters()).device
    five = face.points
    for _ in range(LOOKS):
        crop = crop_points(image, five)
        points = network(crop.face[None].to(device))[0].cpu()
        landmarks = move_points(crop.crop_to_image, points)
        implied = five_points(landmarks.double().numpy())
        if disagreement(five, implied) < FAR:
            break
        five = implied
    return Found(landmarks, crop)


def disagreement(five: Shaped[np.ndarray, "5 2"], other: Shaped[np.ndarray, "5 2"]) -> float:
    """Root mean square distance of five points, in distances of the other's eyes."""
    eyes = np.linalg.norm(other[1] - other[0])
    return float(np.sqrt(np.square(five - other).sum(1).mean()) / max(eyes, 1e-6))
