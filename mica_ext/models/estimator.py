"""FaceEstimator: aligned faces to head and camera parameters.

    photo, Face -align_face-> AlignedFace -LandmarkFitter-> FaceParameters

An identity that is known beforehand (`identity.predictor`) is kept by the fit as it is.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from threadpoolctl import ThreadpoolController
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from mica_ext.fitting.correspondence.calibration import PointCalibration
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.landmarks.regions import point_confidence
from mica_ext.models.types import AlignedFace, FaceParameters


class Estimate(NamedTuple):
    """Parameters of a batch of faces, on the CPU."""

    parameters: FaceParameters
    residual: Float[Tensor, " B"]
    """Mean distance of the fitted to the detected landmarks, in outer eye corner distances."""


class FaceEstimator:
    """Estimates the parameters of one head model; build once, call with any batch."""

    def __init__(self, decoder: HeadDecoder, calibration: PointCalibration) -> None:
        self.fitter = LandmarkFitter(decoder, calibration)
        # The fit solves many small systems: NumPy's BLAS threads gain nothing there, and on a
        # busy machine or under a CPU quota they wait many times longer than they work.
        self.blas = ThreadpoolController().select(user_api="blas")

    @torch.no_grad()
    def __call__(self, faces: AlignedFace, shape: Float[Tensor, "B S"] | None = None) -> Estimate:
        """Estimate a batch of `collate_faces`.

        Args:
            faces: the batch.
            shape: identity coefficients that the fit keeps to the last bit; None: fitted too.

        Raises:
            UserError: if no head fits the landmarks.
        """
        with self.blas.limit(limits=1):
            fit = self.fitter(
                faces.points_px,
                faces.image_size,
                confidence=point_confidence(faces.visibility, faces.point_error),
                shape=shape,
            )
        return Estimate(fit.parameters, fit.residual)
