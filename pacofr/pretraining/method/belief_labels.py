"""Labels of the belief predictor: which candidate a patch looks like (eq. 5).

The paper prints the argmin of the cosine and says "the most similar"; this is the most similar one.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from pacofr.pretraining.config import PredictorConfig

SINKHORN_ITERATIONS = 10
SINKHORN_TEMPERATURE = 0.1
"""In spreads (standard deviations over an image's candidates) of the scores."""


def belief_labels(
    candidates: Iterable[Float[Tensor, "_ K P"]],
    patches: Float[Tensor, "B K P"],
    config: PredictorConfig,
) -> Int64[Tensor, "B K"]:
    """Eq. 5: the candidate most similar to each patch.

    Args:
        candidates: the n candidates one after the other, so that only one need be in memory: their
            decoded pixels (eq. 4) of every image, or the tokens themselves, of one.
        patches: ImageNet-normalised.
        config: `similarity` and `balance`.
    """
    scores = torch.stack([_similarity(c, patches, config.similarity) for c in candidates])
    if config.balance == "sinkhorn":
        scores = balanced(scores)
    return scores.argmax(dim=0)


def _similarity(
    candidate: Float[Tensor, "_ K P"], patches: Float[Tensor, "B K P"], measure: str
) -> Float[Tensor, "B K"]:
    candidate, patches = candidate.float(), patches.float()
    if measure == "l2":
        return -(candidate - patches).square().mean(dim=-1)
    if measure == "centred":
        candidate, patches = _without_mean_colour(candidate), _without_mean_colour(patches)
    return F.cosine_similarity(candidate, patches, dim=-1)


def _without_mean_colour(patches: Float[Tensor, "_ K P"]) -> Float[Tensor, "_ K P"]:
    colours = patches.unflatten(-1, (-1, 3))
    return (colours - colours.mean(dim=-2, keepdim=True)).flatten(-2)


def balanced(scores: Float[Tensor, "n B K"]) -> Float[Tensor, "n B K"]:
    """Log-assignments whose candidates are used equally often at each position (Sinkhorn-Knopp).

    The batch is the global one: other processes' scores are gathered, so that the labels do not
    depend on how many processes share the batch.
    """
    own = scores.shape[1]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        scores, first = _gather_batch(scores)
    else:
        first = 0
    spread = scores.std(dim=0, keepdim=True).mean(dim=1, keepdim=True).clamp_min(1e-6)
    log = scores / (spread * SINKHORN_TEMPERATURE)
    for _ in range(SINKHORN_ITERATIONS):
        log = log - log.logsumexp(dim=1, keepdim=True)  # candidates: equal totals over the batch
        log = log - log.logsumexp(dim=0, keepdim=True)  # images: a distribution each
    return log[:, first : first + own]


def _gather_batch(scores: Float[Tensor, "n B K"]) -> tuple[Float[Tensor, "n _ K"], int]:
    """All ranks' scores along the batch, and where this rank's begin."""
    count = torch.tensor([scores.shape[1]], device=scores.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    padded = F.pad(scores, (0, 0, 0, max(sizes) - scores.shape[1])).contiguous()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    every = torch.cat([part[:, :size] for part, size in zip(parts, sizes, strict=True)], dim=1)
    return every, sum(sizes[: dist.get_rank()])
