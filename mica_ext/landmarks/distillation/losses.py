"""Loss of the dense landmark network against labelled crops."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mica_ext.landmarks.dense.network import DenseOutput, cell_centres
from mica_ext.landmarks.dense.regions import FEATURE_PAIRS, KEY_POINTS, REGIONS
from pacofr.faces.face_mesh.topology import POINTS

HEATMAP_SIGMA = 1.2
"""Standard deviation of the target heat maps [cells]."""
HEATMAP_WEIGHT = 0.15
PAIR_WEIGHT = 0.5
"""Of the errors of `FEATURE_PAIRS`' difference vectors."""
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


class DenseLoss(NamedTuple):
    """The loss and its parts."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, ""]
    """Mean distance of the points of faces [% of the eye distance]."""
    visibility: Float[Tensor, ""]
    face: Float[Tensor, ""]


def dense_loss(output: DenseOutput, targets: Targets) -> DenseLoss:
    """Distances of points, key points and feature pairs [cells], heat maps and confidences."""
    points, visibility, face = targets
    cell = 2 / output.columns.shape[-1]
    weights = _point_weights(points.device) * face[:, None]
    distances = _length((output.points - points) / cell)
    keys, key_weights = points[:, KEY_POINTS], weights[:, KEY_POINTS]
    key_weights = key_weights * (keys.abs() < INSIDE).all(-1)
    first, second = FEATURE_PAIRS.T
    pair_errors = (output.points[:, first] - output.points[:, second]) - (
        points[:, first] - points[:, second]
    )
    loss = (distances * weights).mean()
    loss = loss + PAIR_WEIGHT * (_length(pair_errors / cell) * face[:, None]).mean()
    loss = loss + (_length((output.keys - keys) / cell) * key_weights).mean()
    loss = loss + HEATMAP_WEIGHT * (_heatmap_entropy(output, keys, cell) * key_weights).mean()
    percent = 100 * distances.detach() * (cell / EYE_DISTANCE)
    region_errors = torch.stack([percent[:, region].mean(1) for region in REGIONS.values()], 1)
    # Laplace: its scale's maximum likelihood is the mean error
    spread = region_errors * (-output.log_errors).exp() + output.log_errors
    seen = F.binary_cross_entropy_with_logits(output.visibility_logits, visibility * face[:, None])
    there = F.binary_cross_entropy_with_logits(output.face_logit, face)
    loss = loss + ERROR_WEIGHT * (spread * face[:, None]).mean()
    loss = loss + VISIBILITY_WEIGHT * seen + FACE_WEIGHT * there
    error = (percent.mean(1) * face).sum() / face.sum().clamp(min=1)
    return DenseLoss(loss, error, seen.detach(), there.detach())


def _length(vectors: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    return (vectors.square().sum(-1) + 1e-4).sqrt()


def _point_weights(device: torch.device) -> Float[Tensor, "478"]:
    weights = torch.ones(POINTS, device=device)
    for name, weight in REGION_WEIGHTS.items():
        weights[REGIONS[name]] = weight
    return weights / weights.mean()


def _heatmap_entropy(
    output: DenseOutput, keys: Float[Tensor, "B K 2"], cell: float
) -> Float[Tensor, "B K"]:
    """Cross-entropy of the marginals with Gaussians around the key points."""
    centres = cell_centres(output.columns)
    target = (-0.5 * ((centres - keys[..., None]) / (HEATMAP_SIGMA * cell)).square()).softmax(-1)
    marginals = torch.stack([output.columns, output.rows], 2)
    return -(target * (marginals + 1e-6).log()).sum((-1, -2))
