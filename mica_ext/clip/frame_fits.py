"""The fit of `LandmarkFitter` to frames of a tracked face, many at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_assets.model.head_module import HeadParameters
from mica_ext.clip.tracker import TrackedFace
from mica_ext.fitting.landmark_fitter import FitResult
from mica_ext.landmarks.regions import point_confidence
from mica_ext.models.types import FaceParameters
from mica_ext.reconstruct import Reconstructor

BATCH = 32
SMALLEST_OPENINGS = 0.05
"""Quantile of a clip's lip openings that is taken for closed lips."""
CLOSED_LIPS_MARGIN = 0.02
"""Lips up to that much more apart are closed, too; in distances of the outer eye corners."""


def fit_frames(
    reconstructor: Reconstructor,
    tracked: TrackedFace,
    numbers: Sequence[int],
    size: tuple[int, int],
    *,
    focal_px: float | None = None,
    shape: Float[Tensor, "1 S"] | None = None,
    one_person: bool = False,
    closed_lips: float | None = None,
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
        closed_lips: as of `LandmarkFitter`.

    Raises:
        UserError: no head fits a frame.
    """
    estimator = reconstructor.estimator
    step = len(numbers) if one_person else BATCH
    results = []
    for start in range(0, len(numbers), step):
        rows = list(numbers[start : start + step])
        seen, error = (torch.from_numpy(part[rows]) for part in (tracked.visibility, tracked.error))
        expected = tracked.expected
        with estimator.blas.limit(limits=1):
            results.append(
                estimator.fitter(
                    torch.from_numpy(tracked.points_px[rows]),
                    (size[1], size[0]),
                    None if focal_px is None else torch.full((len(rows),), focal_px),
                    confidence=point_confidence(seen, error),
                    expected=expected and HeadParameters(*(part[rows] for part in expected)),
                    shape=None if shape is None else shape.expand(len(rows), -1),
                    one_person=one_person,
                    closed_lips=closed_lips,
                    jaw_limit=torch.from_numpy(tracked.jaw_limit[rows]),
                )
            )
    parameters = [result.parameters for result in results]
    return FitResult(
        FaceParameters.concatenated(parameters),
        torch.cat([result.landmarks_px for result in results]),
        torch.cat([result.residual for result in results]),
        np.concatenate([result.lips_closed for result in results]),
    )


def closed_lips_of(
    reconstructor: Reconstructor,
    tracked: TrackedFace,
    numbers: Sequence[int],
    size: tuple[int, int],
    focal_px: float,
) -> float:
    """Lip opening below which this person's lips are closed.

    Networks read closed lips of each person with an error of its own, which is the same in all
    frames: the clip's smallest openings are taken for closed lips, if the calibration would.
    """
    fitter, openings = reconstructor.estimator.fitter, []
    for start in range(0, len(numbers), BATCH):
        points = torch.from_numpy(tracked.points_px[list(numbers[start : start + BATCH])])
        focal = torch.full((len(points),), focal_px)
        openings.append(fitter.lip_openings(points, (size[1], size[0]), focal))
    smallest = float(np.quantile(np.concatenate(openings), SMALLEST_OPENINGS))
    return min(fitter.closed_lips, smallest + CLOSED_LIPS_MARGIN)
