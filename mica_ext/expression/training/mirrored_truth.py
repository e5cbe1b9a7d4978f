"""What is known of a training crop, once it is flipped left to right."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mica_ext.expression.branch import BranchOutput
from mica_ext.expression.mirror import HeadMirror
from mica_ext.expression.training.losses import Truth
from pacofr.faces.align import CROP_PX
from pacofr.faces.face_mesh import topology
from pacofr.faces.landmarks68 import MIRROR

LANDMARK_TWINS = MIRROR
POINT_TWINS = topology.MIRROR[: topology.SKIN_POINTS]


def mirrored_truth(mirror: HeadMirror, rows: Bool[Tensor, " B"], truth: Truth) -> Truth:
    """What is known of crops of which `rows` were flipped."""

    def chosen(there: Tensor, here: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (here.ndim - 1)), there, here)

    movement = map(chosen, mirror.movement(truth.movement), truth.movement)
    shape = chosen(truth.shape @ mirror.shape, truth.shape)
    points = chosen(_across(truth.points_px[:, LANDMARK_TWINS]), truth.points_px)
    trust = chosen(truth.confidence[:, LANDMARK_TWINS], truth.confidence)
    found = Truth(shape, BranchOutput(*movement), points, trust, truth.has_3d)
    if truth.dense_px is None or truth.dense_confidence is None:
        return found
    return found._replace(
        dense_px=chosen(_across(truth.dense_px[:, POINT_TWINS]), truth.dense_px),
        dense_confidence=chosen(truth.dense_confidence[:, POINT_TWINS], truth.dense_confidence),
    )


def _across(points: Float[Tensor, "B n 2"]) -> Float[Tensor, "B n 2"]:
    """In the flipped crop [crop px]."""
    return points * points.new_tensor([-1.0, 1.0]) + points.new_tensor([CROP_PX - 1.0, 0.0])
