"""Readouts of frozen features by cross-entropy: probes that see what an encoder has learnt.

A landmark is a distribution over the patches (a softmax heat map). Its target is the landmark
splatted bilinearly on the four nearest patches, it is decoded as the expectation, and it is trained
by cross-entropy: trained on coordinates through the expectation, few photos do not converge. A
region is a distribution over the classes at 4 x 4 places in every patch.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

SUBCELLS = 4
"""Places along a patch's side that a region readout labels."""
MIN_CHANCE = 1e-4
"""Added to the frequencies that biases start from."""
HIDDEN = 64
"""Channels of the convolutional readout."""


class HeatmapTargets(NamedTuple):
    """Landmarks as weights of patches."""

    cell: Int64[Tensor, "N L 4"]
    weight: Float[Tensor, "N L 4"]


def heatmap_targets(points: Float[Tensor, "N L 2"], side: int, grid: int) -> HeatmapTargets:
    """Bilinear weights of the four patches around each point; one outside moves to the border.

    Args:
        points: in pixels of a crop of `side` pixels, pixel centres at whole numbers.
        side: of the crops [px].
        grid: patches along a side.
    """
    cell = ((points + 0.5) * (grid / side) - 0.5).clamp(0, grid - 1)
    low = cell.floor().clamp(max=grid - 2) if grid > 1 else cell.floor()
    upper = cell - low
    low = low.long()
    high = (low + 1).clamp(max=grid - 1)
    (x0, y0), (x1, y1) = low.unbind(-1), high.unbind(-1)
    u, v = upper.unbind(-1)
    cells = torch.stack([y0 * grid + x0, y0 * grid + x1, y1 * grid + x0, y1 * grid + x1], dim=-1)
    weights = torch.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], dim=-1)
    return HeatmapTargets(cells, weights)


def heatmap_cross_entropy(
    logits: Float[Tensor, "N L K"], targets: HeatmapTargets
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the softmax over the patches."""
    log = logits.float().log_softmax(dim=-1).gather(-1, targets.cell)
    return -(log * targets.weight).sum(dim=-1).mean()


def expected_points(logits: Float[Tensor, "N L K"], side: int, grid: int) -> Float[Tensor, "N L 2"]:
    """Expectation of the patch centres [px]."""
    chance = logits.float().softmax(dim=-1).unflatten(-1, (grid, grid))
    centres = (torch.arange(grid, device=logits.device) + 0.5) * (side / grid) - 0.5
    x, y = (chance.sum(dim=-2) * centres).sum(-1), (chance.sum(dim=-1) * centres).sum(-1)
    return torch.stack([x, y], dim=-1)


class Readout(nn.Module):
    """Standardised features of the patches to logits, with a bias for every patch and output."""

    mean: Tensor
    std: Tensor

    def __init__(self, grid: int, mean: Tensor, std: Tensor, outputs: int, *, conv: bool) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.map: nn.Module
        if conv:
            self.map = nn.Sequential(
                nn.Conv2d(len(mean), HIDDEN, 1),
                nn.GELU(),
                nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1),
                nn.GELU(),
                nn.Conv2d(HIDDEN, outputs, 1, bias=False),
            )
        else:
            linear = nn.Conv2d(len(mean), outputs, 1, bias=False)
            nn.init.zeros_(linear.weight)
            self.map = linear
        self.bias = nn.Parameter(torch.zeros(outputs, grid * grid))

    def forward(self, tokens: Float[Tensor, "N K D"]) -> Float[Tensor, "N O K"]:
        """Logits of every output at every patch."""
        standard = (tokens - self.mean) / self.std
        maps = standard.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return self.map(maps).flatten(2) + self.bias


def new_readout(tokens: Float[Tensor, "N K D"], outputs: int, *, conv: bool, seed: int) -> Readout:
    """A readout of features like `tokens`, by whose mean and deviation it standardises, on their
    device."""
    torch.manual_seed(seed)
    grid = round(tokens.shape[1] ** 0.5)
    std = tokens.std(dim=(0, 1)).clamp_min(1e-6)
    return Readout(grid, tokens.mean(dim=(0, 1)), std, outputs, conv=conv).to(tokens.device)


@torch.no_grad()
def start_from_mean_heatmaps(readout: Readout, targets: HeatmapTargets) -> None:
    """Set the biases to the log of the mean target, so that training begins at the mean shape."""
    chance = torch.zeros_like(readout.bias)
    for cell, weight in zip(targets.cell, targets.weight, strict=True):
        chance.scatter_add_(1, cell, weight)
    readout.bias.copy_((chance / len(targets.cell) + MIN_CHANCE).log())


@torch.no_grad()
def start_from_class_shares(
    readout: Readout, targets: Int64[Tensor, "N H W"], classes: int
) -> None:
    """Set the biases to the log of each place's class frequencies."""
    shares = F.one_hot(targets, classes).float().mean(dim=0).permute(2, 0, 1)  # [C, H, W]
    places = F.pixel_unshuffle((shares + MIN_CHANCE).log(), SUBCELLS)
    readout.bias.copy_(places.flatten(1))


def region_logits(
    logits: Float[Tensor, "N O K"], classes: int, grid: int
) -> Float[Tensor, "N C H W"]:
    """Logits of a region readout (classes x 16 outputs) as maps of 4 x 4 places a patch."""
    maps = F.pixel_shuffle(logits.unflatten(2, (grid, grid)), SUBCELLS)
    assert maps.shape[1] == classes
    return maps


def region_targets(
    labels: UInt8[Tensor, "N S S"] | Int64[Tensor, "N S S"], grid: int
) -> Int64[Tensor, "N places places"]:
    """Classes at the centres of the 4 grid x 4 grid places (nearest pixel)."""
    side, places = labels.shape[-1], SUBCELLS * grid
    at = ((torch.arange(places) + 0.5) * (side / places)).long()
    return labels[:, at][:, :, at].long()
