"""How a codebook's candidate tokens are used."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pacofr.pretraining.config import PaCoFRConfig
from pacofr.pretraining.method.masking import constant_positions
from pacofr.pretraining.method.model import PaCoFROutput


class CandidateUsage(NamedTuple):
    """Usage of the candidates over the masked patches of a batch."""

    entropy: float | None
    """Entropy of the chosen candidates over log n, mean over positions: 1 uniform, 0 always one;
    None for a codebook of one candidate."""
    dead_token_fraction: float
    """Fraction of the tokens that no masked patch chose, at positions that count
    (`PredictorConfig.skip_constant`)."""


def count_candidates(
    output: PaCoFROutput, mask: Bool[Tensor, "B K"], candidates: int
) -> Float[Tensor, " tokens"]:
    """How often each candidate was chosen at each masked position, [K * n].

    While the predictor is trained, its own choice counts, also where the random candidate is used.
    """
    chosen = output.chosen if output.logits is None else output.logits.argmax(dim=-1)
    first = torch.arange(mask.shape[1], device=mask.device) * candidates
    counts = torch.zeros(mask.shape[1] * candidates, device=mask.device)
    return counts.scatter_add_(0, (first + chosen).flatten(), mask.float().flatten())


def candidate_usage(counts: Float64[Tensor, " tokens"], config: PaCoFRConfig) -> CandidateUsage:
    """Usage from the counts of a global batch."""
    table = counts.view(-1, config.codebook.candidates)
    if config.predictor.skip_constant:
        table = table[torch.from_numpy(~constant_positions(config.encoder.grid))]
    tokens = table.sum(dim=0, keepdim=True) if config.codebook.shared else table
    dead = float((tokens == 0).double().mean())
    return CandidateUsage(usage_entropy(table), dead)


def usage_entropy(counts: Float[Tensor, "K n"] | Float64[Tensor, "K n"]) -> float | None:
    """Entropy of each row's distribution over log n, mean over the rows that were used at all."""
    candidates = counts.shape[1]
    if candidates == 1:
        return None
    used = counts[counts.sum(dim=1) > 0]
    probabilities = used / used.sum(dim=1, keepdim=True)
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(dim=1)
    return float(entropy.mean()) / math.log(candidates)
