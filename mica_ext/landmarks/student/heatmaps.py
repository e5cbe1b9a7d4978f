"""Reading heat maps."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class HeatmapReading(NamedTuple):
    """Where heat maps have their mass."""

    points: Float[Tensor, "B K 2"]
    """Its centre, x and y in [-1, 1] of the maps' sides."""
    columns: Float[Tensor, "B K w"]
    """Marginals over the columns; each sums to 1."""
    rows: Float[Tensor, "B K h"]
    peaks: Float[Tensor, "B K"]
    """Largest share of one cell."""


def soft_argmax(logits: Float[Tensor, "B K h w"]) -> HeatmapReading:
    """Centres of mass of the maps' softmax (Sun et al. 2018, "Integral Human Pose Regression")."""
    heat = logits.flatten(2).softmax(-1)
    peaks = heat.amax(-1)
    heat = heat.unflatten(-1, logits.shape[2:])
    columns, rows = heat.sum(2), heat.sum(3)
    points = torch.stack([columns @ cell_centres(columns), rows @ cell_centres(rows)], -1)
    return HeatmapReading(points, columns, rows, peaks)


def cell_centres(marginals: Float[Tensor, "B K n"]) -> Float[Tensor, " n"]:
    """Places in [-1, 1] of the cells that marginals count."""
    count = marginals.shape[-1]
    return (torch.arange(count, device=marginals.device) + 0.5) * (2 / count) - 1
