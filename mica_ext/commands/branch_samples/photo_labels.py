"""Labels of photos for training: the product's fit to dense points, with its confidence."""

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from flame_assets.model.head_module import HeadParameters
from mica_ext.data.branch.sources.photos import PhotoLabels, Refused
from mica_ext.errors import UserError
from mica_ext.landmarks.regions import point_confidence
from mica_ext.models.quality import MAX_RESIDUAL, MIN_CONFIDENCE
from mica_ext.reconstruct import Reconstructor
from pacofr.faces.landmarks68 import five_points

MIN_FACE_PX = 60.0
"""Smaller faces teach nothing about expressions."""
NO_FACE, NOT_SURE, POOR_FIT = "no face", "face that is not sure", "face that no head fits"


class PhotoLabeller:
    """Labels the largest face of a photo; a `data.branch.photos.Labeller`."""

    def __init__(self, reconstructor: Reconstructor) -> None:
        self.reconstructor = reconstructor

    @torch.no_grad()
    def __call__(
        self, photo: UInt8[np.ndarray, "H W 3"], shape: Float32[np.ndarray, " S"] | None = None
    ) -> PhotoLabels | Refused:
        """Labels, or why there are none.

        The confidence falls with the fit's residual and with what is hidden.
        """
        faces = self.reconstructor.detect(photo, min_face=MIN_FACE_PX)
        if not faces:
            return Refused(NO_FACE)
        aligned = self.reconstructor.align(photo, faces[:1])
        if float(aligned.confidence) < MIN_CONFIDENCE:
            return Refused(NOT_SURE)
        known = None if shape is None else torch.from_numpy(shape)[None]
        try:
            estimate = self.reconstructor.estimator(aligned, known)
        except UserError:
            return Refused(POOR_FIT)
        residual = float(estimate.residual[0])
        if not residual <= MAX_RESIDUAL:
            return Refused(POOR_FIT)
        trust = point_confidence(aligned.visibility, aligned.point_error)[0].clamp(max=1)
        seen = float(aligned.visibility[0].mean())
        root = self.reconstructor.decoder(_at_rest(estimate.parameters.head)).joints[0, 0]
        return PhotoLabels(
            five_points(aligned.landmarks_px[0].double().numpy()),
            estimate.parameters,
            root.numpy(),
            aligned.points_px[0].numpy().astype(np.float32),
            trust.numpy().astype(np.float32),
            float(aligned.confidence[0]) * seen * (1 - 0.5 * residual / MAX_RESIDUAL),
        )


def _at_rest(head: HeadParameters) -> HeadParameters:
    return head._replace(global_pose=torch.zeros_like(head.global_pose))
