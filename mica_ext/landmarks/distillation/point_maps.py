"""The linear maps from key points and pooled features to all points, by least squares.

Gradient steps fit these maps slowly; their solution is known in closed form.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mica_ext.landmarks.distillation.data import CropBatch
from mica_ext.landmarks.network import (
    CHANNELS,
    CORRECTIONS,
    KEYS,
    LandmarkNetwork,
)
from mica_ext.landmarks.regions import KEY_POINTS

POOLED = CHANNELS[-1]
RIDGE = 100.0
"""Added to the squares' sums of each standardised feature."""


class _Moments(NamedTuple):
    """Weighted sums over faces; features end with a 1, residuals are of the present maps."""

    features: Float64[Tensor, "k+1 k+1"]
    residuals: Float64[Tensor, "k+1 956"]


def decoder_regression(
    points: Float[Tensor, "n 478 2"],
) -> tuple[Float[Tensor, "956 k"], Float[Tensor, "956"]]:
    """Least-squares weight and bias of the linear map from true key points to all points."""
    flat = points.double().flatten(1)
    keys = torch.cat([points[:, KEY_POINTS].double().flatten(1), torch.ones(len(flat), 1)], 1)
    ridge = 1e-2 * torch.eye(keys.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(keys.T @ keys + ridge, keys.T @ flat)
    return solution[:-1].T.float(), solution[-1].float()


@torch.no_grad()
def refit_point_maps(network: LandmarkNetwork, batches: Iterable[CropBatch]) -> None:
    """Replace decoder and correction by the ridge regression of the truth on what is found.

    Found are the key points where the patches moved them, and the pooled features. The ridge holds
    the maps near the present ones. The correction's map is then the nearest one of rank
    `CORRECTIONS` in the metric of the features' covariance.

    Args:
        network: in evaluation mode; its features stay as they are.
        batches: labelled crops; those without a face are left out.
    """
    moments = _moments(network, batches)
    gram, count = moments.features, moments.features[-1, -1]
    mean = gram[-1, :-1] / count
    covariance = gram[:-1, :-1] / count - mean.outer(mean)
    residual_mean = moments.residuals[-1] / count
    crossed = moments.residuals[:-1] / count - mean[:, None] * residual_mean
    variance = covariance.diagonal()
    ridge = torch.diag(RIDGE / count * variance + 1e-9)
    change = torch.linalg.solve(covariance + ridge, crossed).T
    keys, pooled = change.split([2 * KEYS, POOLED], 1)
    maps = network.whole
    correction, present = maps.correction, maps.correction_weights.weight.double()
    whole = correction.weight.double() @ present + pooled
    spread = torch.linalg.cholesky(covariance[-POOLED:, -POOLED:] + 1e-9 * torch.eye(POOLED))
    left, sizes, right = torch.linalg.svd(whole @ spread, full_matrices=False)
    root = sizes[:CORRECTIONS].sqrt()
    shapes = left[:, :CORRECTIONS] * root
    weights = torch.linalg.solve(spread, root[:, None] * right[:CORRECTIONS], left=False)
    dropped = whole - shapes @ weights
    bias = residual_mean - change @ mean + dropped @ mean[-POOLED:]
    maps.decoder.weight += keys
    maps.decoder.bias += bias
    correction.weight.copy_(shapes)
    maps.correction_weights.weight.copy_(weights)


def _moments(network: LandmarkNetwork, batches: Iterable[CropBatch]) -> _Moments:
    size = 2 * KEYS + POOLED + 1
    features = torch.zeros(size, size, dtype=torch.float64)
    residuals = torch.zeros(size, network.whole.decoder.out_features, dtype=torch.float64)
    for batch in batches:
        crops = batch.crops.permute(0, 3, 1, 2).float() / 255
        output = network(crops)
        keys = output.keys + network.key_changes(output.whole_points, output.parts)
        row = torch.cat([keys.flatten(1), output.features[:, :POOLED]], 1)
        row = torch.cat([row, torch.ones(len(row), 1)], 1)[batch.face > 0].double()
        residual = (batch.points - output.points)[batch.face > 0].flatten(1).double()
        features += row.T @ row
        residuals += row.T @ residual
    return _Moments(features, residuals)
