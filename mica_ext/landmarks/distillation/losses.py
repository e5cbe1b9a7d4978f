"""Loss of the landmark network against labelled crops."""

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from mica_ext.landmarks.regions import FEATURE_PAIRS, KEY_POINTS, REGIONS
from mica_ext.landmarks.student.heatmaps import cell_centres
from mica_ext.landmarks.student.network import LandmarkOutput
from mica_ext.landmarks.student.patches import PARTS, to_patch
from pacofr.faces.face_mesh.topology import POINTS

HEATMAP_SIGMA = 1.2
"""Standard deviation of the target heat maps [cells]."""
HEATMAP_WEIGHT = 0.15
PAIR_WEIGHT = 1.0
"""Of the errors of `FEATURE_PAIRS`' difference vectors."""
PART_WEIGHT = 0.5
"""Of the key points in each patch."""
ERROR_WEIGHT, VISIBILITY_WEIGHT, FACE_WEIGHT = 0.1, 0.3, 0.3
EYE_DISTANCE = 0.78
"""Mean distance of the outer eye corners in a crop whose sides reach from -1 to 1."""
REGION_WEIGHTS = {
    "right_eye": 2.0,
    "left_eye": 2.0,
    "mouth": 2.0,
    "right_brow": 1.5,
    "left_brow": 1.5,
}
"""Weights of points that tell expression; 1 elsewhere."""
INSIDE = 1.05
"""Key points farther out than this have no heat map to be found in."""


class Targets(NamedTuple):
    """Truth of a batch of crops."""

    points: Float[Tensor, "B 478 2"]
    visibility: Float[Tensor, "B 7"]
    face: Float[Tensor, " B"]


class LandmarkLoss(NamedTuple):
    """The loss and its parts."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, ""]
    """Mean distance of the points of faces [% of the eye distance]."""
    visibility: Float[Tensor, ""]
    face: Float[Tensor, ""]


def landmark_loss(output: LandmarkOutput, targets: Targets) -> LandmarkLoss:
    """Distances of points, key points and feature pairs [cells], heat maps and confidences."""
    points, visibility, face = targets
    cell = 2 / output.columns.shape[-1]
    chosen = _choices(points.device)
    weights = chosen.weights * face[:, None]
    loss = _shape_loss(output.whole_points, points, weights, cell)
    if output.parts:
        loss = loss + _shape_loss(output.points, points, weights, cell)
    keys = points[:, chosen.keys]
    loss = loss + _key_loss(output.keys, output.columns, output.rows, keys, weights[:, chosen.keys])
    for part, of_part, seen in zip(PARTS, chosen.parts, output.parts, strict=bool(output.parts)):
        truth = to_patch(part, points[:, of_part], seen.frames)
        importance = face[:, None].expand(-1, len(of_part))
        loss = loss + PART_WEIGHT * _key_loss(
            seen.local, seen.columns, seen.rows, truth, importance
        )
    percent = (100 * cell / EYE_DISTANCE) * _length((output.points.detach() - points) / cell)
    region_errors = torch.stack([percent[:, region].mean(1) for region in chosen.regions], 1)
    # Laplace: its scale's maximum likelihood is the mean error
    spread = region_errors * (-output.log_errors).exp() + output.log_errors
    visible = F.binary_cross_entropy_with_logits(
        output.visibility_logits, visibility * face[:, None]
    )
    there = F.binary_cross_entropy_with_logits(output.face_logit, face)
    loss = loss + ERROR_WEIGHT * (spread * face[:, None]).mean()
    loss = loss + VISIBILITY_WEIGHT * visible + FACE_WEIGHT * there
    error = (percent.mean(1) * face).sum() / face.sum().clamp(min=1)
    return LandmarkLoss(loss, error, visible.detach(), there.detach())


def _shape_loss(
    found: Float[Tensor, "B 478 2"],
    truth: Float[Tensor, "B 478 2"],
    weights: Float[Tensor, "B 478"],
    cell: float,
) -> Float[Tensor, ""]:
    """Distances of points and of feature pairs [cells]."""
    errors = (found - truth) / cell
    first, second = _choices(errors.device).pairs
    pairs = _length(errors[:, first] - errors[:, second])
    present = (weights[:, :1] > 0).float()
    return (_length(errors) * weights).mean() + PAIR_WEIGHT * (pairs * present).mean()


def _length(vectors: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    return (vectors.square().sum(-1) + 1e-4).sqrt()


class _Choices(NamedTuple):
    """Which points count where, on the device of the loss."""

    keys: Int64[Tensor, " K"]
    pairs: Int64[Tensor, "2 n"]
    regions: tuple[Int64[Tensor, " n"], ...]
    parts: tuple[Int64[Tensor, " n"], ...]
    weights: Float[Tensor, "478"]
    """Of points; their mean is 1."""


@functools.cache
def _choices(device: torch.device) -> _Choices:
    """Copied to the device once: a copy in every step would make the host wait for it."""
    weights = torch.ones(POINTS)
    for name, weight in REGION_WEIGHTS.items():
        weights[REGIONS[name]] = weight
    return _Choices(
        torch.from_numpy(KEY_POINTS).to(device),
        torch.from_numpy(FEATURE_PAIRS.T).to(device),
        tuple(torch.from_numpy(region).to(device) for region in REGIONS.values()),
        tuple(torch.from_numpy(part.points).to(device) for part in PARTS),
        (weights / weights.mean()).to(device),
    )


def _key_loss(
    found: Float[Tensor, "B n 2"],
    columns: Float[Tensor, "B n w"],
    rows: Float[Tensor, "B n h"],
    truth: Float[Tensor, "B n 2"],
    weights: Float[Tensor, "B n"],
) -> Float[Tensor, ""]:
    """Distance [cells] and cross-entropy of the marginals with Gaussians around the truth."""
    centres = cell_centres(columns)
    cell = 2 / len(centres)
    distances = _length((found - truth) / cell)
    target = (-0.5 * ((centres - truth[..., None]) / (HEATMAP_SIGMA * cell)).square()).softmax(-1)
    entropy = -(target * (torch.stack([columns, rows], 2) + 1e-6).log()).sum((-1, -2))
    weights = weights * (truth.abs() < INSIDE).all(-1)
    return ((distances + HEATMAP_WEIGHT * entropy) * weights).mean()
