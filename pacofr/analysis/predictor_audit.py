"""How much the predictor's choices reveal to the encoder about the masked patches.

The predictor sees the very patch that is masked, so its choice carries information about it. The
reconstruction error at masked patches under random, predicted and ideal choices measures how much;
the mean brightness of the patches that choose each candidate shows which.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from pacofr.models.normalization import normalise
from pacofr.pretraining.config import MaskingConfig
from pacofr.pretraining.method.codebook import patchify, restructure
from pacofr.pretraining.method.masking import sample_masks
from pacofr.pretraining.method.model import PaCoFR


class ChoiceAudit(NamedTuple):
    """Over the masked patches of some faces; errors are mean squares in ImageNet-normalised units.

    Positions whose patches hardly vary (the grey border of a crop) are left out.
    """

    shares: tuple[float, ...]
    """Fraction of the patches for which the predictor chooses each candidate."""
    brightness: tuple[float | None, ...]
    """Mean value of those patches; None for a candidate that no patch chose."""
    agreement: float
    """Fraction of the patches for which the predictor chooses what eq. 5 would."""
    error_random: float
    """With candidates drawn uniformly."""
    error_predicted: float
    """With the predictor's."""
    error_label: float
    """With eq. 5's."""


@torch.no_grad()
def audit_choices(
    model: PaCoFR, images: UInt8[Tensor, "N 3 S S"], seed: int = 0, batch: int = 64
) -> ChoiceAudit:
    """Audit a model with a predictor on some crops, under the masks of `seed`.

    Raises:
        ValueError: the model has no predictor, or one that chooses no token.
    """
    if model.predictor is None or model.belief_is_target:
        raise ValueError("a model without a predictor chooses at random: there is nothing to audit")
    candidates = model.config.codebook.candidates
    patches = patchify(normalise(images / 255), model.config.encoder.patch_size)
    masks = sample_masks(seed, 0, np.arange(len(images)), model.config, MaskingConfig())
    mask, random = torch.from_numpy(masks.mask), torch.from_numpy(masks.random_token)
    considered = mask & (patches.std(dim=(0, 2)) > 0.1)
    parts = list(zip(patches.split(batch), mask.split(batch), strict=True))
    predicted = torch.cat([model.predictor(p, m).argmax(dim=-1) for p, m in parts])
    chosen_parts = predicted.split(batch)
    label = torch.cat(
        [model.labels(p, m, m, c) for (p, m), c in zip(parts, chosen_parts, strict=True)]
    )

    def error(chosen: Int64[Tensor, "N K"]) -> float:
        errors = [
            (model.reconstruct(restructure(p, model.codebook(), c, m)) - p).square().mean(dim=-1)
            for p, c, m in zip(*(t.split(batch) for t in (patches, chosen, mask)), strict=True)
        ]
        return float(torch.cat(errors)[considered].mean())

    behind = [considered & (predicted == number) for number in range(candidates)]
    total = int(considered.sum())
    return ChoiceAudit(
        shares=tuple(int(members.sum()) / total for members in behind),
        brightness=tuple(_brightness(patches, members) for members in behind),
        agreement=float((predicted == label)[considered].float().mean()),
        error_random=error(random),
        error_predicted=error(predicted),
        error_label=error(label),
    )


def _brightness(patches: Float[Tensor, "N K P"], members: Bool[Tensor, "N K"]) -> float | None:
    return float(patches[members].mean()) if bool(members.any()) else None
