"""MicaExt: the detected faces of a photo to the parameters of the heads in it.

    Face -detect_landmarks: crop, LandmarkNetwork-> 68 points in the photo -LandmarkFitter-> head

Identity and expression networks will start the fit, or take its place, behind the same interface.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from threadpoolctl import ThreadpoolController
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.landmarks.detect import detect_landmarks
from mica_ext.landmarks.weights import load_landmark_network
from mica_ext.models.pack import Pack
from mica_ext.models.types import FaceParameters
from pacofr.faces.detect import Face


class Estimate(NamedTuple):
    """What the networks make of a batch of faces."""

    parameters: FaceParameters
    landmarks_px: Float[Tensor, "B 68 2"]  # as the network saw them in the photo
    certainty: Float[Tensor, " B"]  # of the network: 0.10 to 0.20 for faces, see landmark_search
    residual: Float[Tensor, " B"]  # of the fit, in distances of the outer eye corners


class MicaExt:
    """All that lies between a detected face and `FaceParameters`, for one head."""

    def __init__(self, pack: Pack, flame: HeadDecoder, device: torch.device) -> None:
        """Load the pack's networks, strictly."""
        self.landmarks = load_landmark_network(pack.landmarks).to(device)
        self.fitter = LandmarkFitter(flame)
        # The fit solves many small systems: NumPy's BLAS threads gain nothing there, and on a
        # busy machine or under a CPU quota they wait many times longer than they work.
        self.blas = ThreadpoolController().select(user_api="blas")

    @torch.no_grad()
    def __call__(self, image: UInt8[np.ndarray, "H W 3"], faces: Sequence[Face]) -> Estimate:
        """The heads of these faces of an RGB photo; results are on the CPU."""
        found = [detect_landmarks(self.landmarks, image, face) for face in faces]
        points = torch.stack([one.landmarks_px for one in found])
        certainty = torch.tensor([one.confidence for one in found])
        height, width = image.shape[:2]
        with self.blas.limit(limits=1):
            fit = self.fitter(points, (height, width))
        return Estimate(fit.parameters, points, certainty, fit.residual)
