"""The fit of `LandmarkFitter` to frames of a tracked face, many at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mica_ext.clip.tracker import TrackedFace
from mica_ext.fitting.landmark_fitter import FitResult
from mica_ext.landmarks.regions import point_confidence
from mica_ext.models.types import FaceParameters
from mica_ext.reconstruct import Reconstructor

BATCH = 32


def fit_frames(
    reconstructor: Reconstructor,
    tracked: TrackedFace,
    numbers: Sequence[int],
    size: tuple[int, int],
    *,
    focal_px: float | None = None,
    shape: Float[Tensor, "1 S"] | None = None,
    one_person: bool = False,
) -> FitResult:
    """Fit the frames `numbers` of a video of `size` (width, height) [px].

    Args:
        reconstructor: its fitter.
        tracked: the points.
        numbers: of the frames, in which the face was seen.
        size: of the video.
        focal_px: of the camera; None: of each frame, by its default distance.
        shape: identity that is kept.
        one_person: fit one identity to all of the frames together.

    Raises:
        UserError: no head fits a frame.
    """
    estimator = reconstructor.estimator
    step = len(numbers) if one_person else BATCH
    results = []
    for start in range(0, len(numbers), step):
        rows = list(numbers[start : start + step])
        seen, error = (torch.from_numpy(part[rows]) for part in (tracked.visibility, tracked.error))
        with estimator.blas.limit(limits=1):
            results.append(
                estimator.fitter(
                    torch.from_numpy(tracked.points_px[rows]),
                    (size[1], size[0]),
                    None if focal_px is None else torch.full((len(rows),), focal_px),
                    confidence=point_confidence(seen, error),
                    shape=None if shape is None else shape.expand(len(rows), -1),
                    one_person=one_person,
                )
            )
    parameters = [result.parameters for result in results]
    return FitResult(
        FaceParameters.concatenated(parameters),
        torch.cat([result.landmarks_px for result in results]),
        torch.cat([result.residual for result in results]),
        np.concatenate([result.lips_closed for result in results]),
    )
