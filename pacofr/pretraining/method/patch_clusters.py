"""K-means of the patches at each position: starting tokens that look like what occurs there."""

import torch
from jaxtyping import Float
from torch import Tensor

from pacofr.errors import UserError

ITERATIONS = 20


def cluster_patches(
    patches: Float[Tensor, "B K P"], clusters: int, generator: torch.Generator
) -> Float[Tensor, "K n P"]:
    """Cluster means of every position's patches (Lloyd's algorithm, k-means++ starts).

    A cluster that loses its members keeps its last mean.

    Raises:
        UserError: there are fewer images than clusters.
    """
    if len(patches) < clusters:
        raise UserError(
            f"k-means needs at least as many crops as candidates: expected {clusters}, got"
            f" {len(patches)}; curate more photos or lower --model.codebook.candidates"
        )
    by_position = patches.transpose(0, 1).contiguous()  # [K, B, P]
    means = _spread_starts(by_position, clusters, generator)
    for _ in range(ITERATIONS):
        nearest = torch.cdist(by_position, means).argmin(dim=2)  # [K, B]
        member = torch.nn.functional.one_hot(nearest, clusters).to(by_position)  # [K, B, n]
        counts = member.sum(dim=1)[..., None]  # [K, n, 1]
        sums = member.transpose(1, 2) @ by_position
        means = torch.where(counts > 0, sums / counts.clamp_min(1.0), means)
    return means


def _spread_starts(
    by_position: Float[Tensor, "K B P"], clusters: int, generator: torch.Generator
) -> Float[Tensor, "K n P"]:
    """k-means++ (Arthur and Vassilvitskii 2007): each start far from those before it."""
    positions, images, _ = by_position.shape
    rows = torch.arange(positions)
    first = torch.randint(images, (positions,), generator=generator)
    starts = [by_position[rows, first]]
    distance = torch.full((positions, images), torch.inf)
    for _ in range(clusters - 1):
        apart = (by_position - starts[-1][:, None]).square().sum(dim=2)
        distance = torch.minimum(distance, apart)
        weights = distance + 1e-12  # a position without any variation draws uniformly
        drawn = torch.multinomial(weights, 1, generator=generator)[:, 0]
        starts.append(by_position[rows, drawn])
    return torch.stack(starts, dim=1)
