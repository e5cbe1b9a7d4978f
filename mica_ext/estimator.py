"""FaceEstimator: aligned faces to head and camera parameters.

    photo, Face -align_face-> AlignedFace -ExpressionPredictor-> what a network sees of them
                                          -LandmarkFitter-> FaceParameters

The predictor is there where the pack has an expression network for the head. An identity that is
known beforehand (`identity.predictor`) is kept as it is.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from threadpoolctl import ThreadpoolController
from torch import Tensor

from flame_assets.model.head_module import HeadDecoder
from mica_ext.expression.predictor import ExpressionPredictor
from mica_ext.fitting.correspondence.calibration import PointCalibration
from mica_ext.fitting.landmark_fitter import LandmarkFitter
from mica_ext.fitting.teeth import jaw_limits_of_faces
from mica_ext.landmarks.regions import REGIONS, point_confidence
from mica_ext.models.projection import project
from mica_ext.models.types import AlignedFace, FaceParameters
from pacofr.faces.landmarks68 import inter_ocular

FitChoice = Literal["full", "none"]
"""Whether parameters are fitted to the points, or the expression network's are the result."""


class Estimate(NamedTuple):
    """Parameters of a batch of faces, on the CPU."""

    parameters: FaceParameters
    residual: Float[Tensor, " B"]
    """Mean distance of the head's landmarks to the detected ones, in outer eye corner distances."""


class FaceEstimator:
    """Estimates the parameters of one head model; build once, call with any batch."""

    def __init__(
        self,
        decoder: HeadDecoder,
        calibration: PointCalibration,
        predictor: ExpressionPredictor | None = None,
        fit: FitChoice = "full",
    ) -> None:
        """Set up for a head.

        Args:
            decoder: of the head.
            calibration: of the points that are fitted.
            predictor: of the head's movements; None: the points alone tell them.
            fit: "none" needs a predictor.
        """
        self.fitter = LandmarkFitter(decoder, calibration)
        self.predictor, self.fit = predictor, fit
        # The fit solves many small systems: NumPy's BLAS threads gain nothing there, and on a
        # busy machine or under a CPU quota they wait many times longer than they work.
        self.blas = ThreadpoolController().select(user_api="blas")

    @torch.no_grad()
    def __call__(self, faces: AlignedFace, shape: Float[Tensor, "B S"] | None = None) -> Estimate:
        """Estimate a batch of `collate_faces`.

        Args:
            faces: the batch.
            shape: identity coefficients that are kept to the last bit; None: fitted too, or zero
                without a fit.

        Raises:
            UserError: if no head fits the landmarks.
        """
        predicted = None if self.predictor is None else self.predictor(faces, shape)
        if self.fit == "none":
            assert predicted is not None
            return self._unfitted(predicted, faces)
        with self.blas.limit(limits=1):
            fit = self.fitter(
                faces.points_px,
                faces.image_size,
                confidence=point_confidence(faces.visibility, faces.point_error),
                shape=shape,
                expected=None if predicted is None else predicted.head,
                jaw_limit=jaw_limits_of_faces(
                    faces.crop,
                    faces.crop_to_image,
                    faces.points_px,
                    faces.visibility[:, list(REGIONS).index("mouth")],
                ),
            )
        return Estimate(fit.parameters, fit.residual)

    def _unfitted(self, parameters: FaceParameters, faces: AlignedFace) -> Estimate:
        """Predicted parameters, with their distance to the points."""
        landmarks = self.fitter.landmark_head(parameters.head).landmarks
        seen = project(parameters.camera, landmarks)
        unit = inter_ocular(faces.landmarks_px.double().numpy())
        distance = (seen - faces.landmarks_px).norm(dim=-1).mean(1)
        return Estimate(parameters, distance / torch.from_numpy(unit).to(distance))
