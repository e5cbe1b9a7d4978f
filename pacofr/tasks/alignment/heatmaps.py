"""Heat maps of landmarks: targets, decoding by soft-argmax, losses (FaRL's, section E).

Points are normalised: (x, y) in [0, 1] from edge to edge, so that pixel i of n has its centre
at (i + 0.5) / n.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pacofr.tasks.config import Heatmaps

RADIUS = 5.0
"""Of the discs in the target maps [px of a map of 128]."""
MIN_MASS = 1e-6
"""Of a heat map, below which its centre of mass is not trusted."""


def soft_argmax(
    logits: Float[Tensor, "B K h w"], heatmaps: Heatmaps = "sigmoid"
) -> Float[Tensor, "B K 2"]:
    """Normalised centres of mass of the heat maps; of an empty one the corner.

    Args:
        logits: of the maps.
        heatmaps: whether a map is the sigmoid of its logits or the softmax over them.
    """
    if heatmaps == "softmax":
        heat = logits.flatten(2).softmax(dim=-1).view_as(logits)
    else:
        heat = logits.sigmoid()
    height, width = heat.shape[-2:]
    mass = heat.sum(dim=(-2, -1)).clamp_min(MIN_MASS)
    x = (heat.sum(dim=-2) * pixel_numbers(width, heat)).sum(dim=-1) / mass
    y = (heat.sum(dim=-1) * pixel_numbers(height, heat)).sum(dim=-1) / mass
    return torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=-1)


def target_heatmaps(
    points: Float[Tensor, "B K 2"], height: int, width: int, radius: float = RADIUS
) -> Float[Tensor, "B K height width"]:
    """exp(-8 r^2 / R^2) around every point, 0 beyond R; r and R in pixels of the map."""
    x = pixel_numbers(width, points) + 0.5 - points[..., :1] * width
    y = pixel_numbers(height, points) + 0.5 - points[..., 1:] * height
    squared = y.square()[..., :, None] + x.square()[..., None, :]
    disc = torch.exp(squared * (-8 / radius**2))
    return torch.where(squared <= radius**2, disc, 0.0)


def point_loss(points: Float[Tensor, "B K 2"], truth: Float[Tensor, "B K 2"]) -> Float[Tensor, ""]:
    """Mean distance in normalised coordinates."""
    return (points - truth).square().sum(dim=-1).add(1e-16).sqrt().mean()


def heatmap_loss(
    logits: Float[Tensor, "B K h w"],
    target: Float[Tensor, "B K H W"],
    heatmaps: Heatmaps = "sigmoid",
) -> Float[Tensor, ""]:
    """Cross-entropy of the logits, resized to the target: binary of every pixel, or for "softmax"
    that of the map's distribution, of which the target's part is 0 where its point lies outside."""
    resized = F.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=False)
    if heatmaps == "softmax":
        wanted = target / target.sum(dim=(-2, -1), keepdim=True).clamp_min(MIN_MASS)
        return -(wanted.flatten(2) * resized.flatten(2).log_softmax(dim=-1)).sum(dim=-1).mean()
    return F.binary_cross_entropy_with_logits(resized, target)


def pixel_numbers(count: int, like: Tensor) -> Float[Tensor, " count"]:
    """0, 1, ... count - 1, on the device and of the type of `like`."""
    return torch.arange(count, device=like.device, dtype=like.dtype)
