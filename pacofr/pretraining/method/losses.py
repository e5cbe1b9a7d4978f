"""The loss terms: eq. 2 (pixels), eq. 3 (perceptual), eq. 6 (belief predictor), and their sum.

Images and patches are ImageNet-normalised, losses are in float32. `model` lists all equations.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pacofr.pretraining.config import LossConfig


def mse_loss(
    prediction: Float[Tensor, "B K P"],
    target: Float[Tensor, "B K P"],
    over: Bool[Tensor, "B K"] | None = None,
) -> Float[Tensor, " B"]:
    """Eq. 2: mean squared error over the entire image, masked or not, or over some patches."""
    each = (prediction.float() - target.float()).square().mean(dim=2)
    return each.mean(dim=1) if over is None else _mean_over(each, over)


def perceptual_loss(
    of_image: list[Float[Tensor, "B T D"]], of_prediction: list[Float[Tensor, "B T D"]]
) -> Float[Tensor, " B"]:
    """Eq. 3: minus the cosine between the two images' features, per token, summed over layers.

    Averaged over an image's tokens, class token included; the minimum is minus the layers' number.
    """
    similarity = [
        F.cosine_similarity(a.float(), b.float(), dim=-1).mean(dim=1)
        for a, b in zip(of_image, of_prediction, strict=True)
    ]
    return -torch.stack(similarity).sum(dim=0)


def whole_map_perceptual_loss(
    of_image: list[Float[Tensor, "B T D"]], of_prediction: list[Float[Tensor, "B T D"]]
) -> Float[Tensor, " B"]:
    """Eq. 3 as printed: minus one cosine per layer, of the whole flattened maps, summed."""
    similarity = [
        F.cosine_similarity(a.float().flatten(1), b.float().flatten(1), dim=-1)
        for a, b in zip(of_image, of_prediction, strict=True)
    ]
    return -torch.stack(similarity).sum(dim=0)


def mcf_perceptual_loss(
    of_image: list[Float[Tensor, "B T D"]], of_prediction: list[Float[Tensor, "B T D"]]
) -> Float[Tensor, " B"]:
    """MCF's form: each channel normalised over the tokens, then the mean squared difference.

    It normalises along another axis than eq. 3 and is about 197 times smaller; MCF weights it 1000.
    """
    difference = [
        (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().mean(dim=(1, 2))
        for a, b in zip(of_image, of_prediction, strict=True)
    ]
    return torch.stack(difference).sum(dim=0)


def belief_cross_entropy(
    logits: Float[Tensor, "B K n"], labels: Int64[Tensor, "B K"], mask: Bool[Tensor, "B K"]
) -> Float[Tensor, " B"]:
    """Eq. 6, as a mean over an image's masked (or judged) positions."""
    terms = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none")
    return _mean_over(terms.view(mask.shape), mask)


def _mean_over(values: Float[Tensor, "B K"], mask: Bool[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Mean of each row's values where the mask is true; 0 where it is nowhere."""
    chosen = mask.to(values.dtype)
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp_min(1.0)


class LossTerms(NamedTuple):
    """Means over the batch; `total` is the weighted sum, which is minimised."""

    total: Float[Tensor, ""]
    mse: Float[Tensor, ""]
    perceptual: Float[Tensor, ""]
    cross_entropy: Float[Tensor, ""]


def combine(
    mse: Float[Tensor, " B"],
    perceptual: Float[Tensor, " B"] | None,
    cross_entropy: Float[Tensor, " B"] | None,
    weights: LossConfig,
) -> LossTerms:
    """Weighted sum of the batch means; a term that is switched off is None and counts as 0."""
    zero = mse.new_zeros(())
    terms = (mse.mean(), *(zero if t is None else t.mean() for t in (perceptual, cross_entropy)))
    total = (
        weights.mse * terms[0] + weights.perceptual * terms[1] + weights.cross_entropy * terms[2]
    )
    return LossTerms(total, *terms)
