"""What a pre-training step measured, summed over micro-batches and ranks in one collective."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pacofr.engine.distributed import World, sum_over_ranks
from pacofr.engine.optim import GradientNorms
from pacofr.pretraining.config import PaCoFRConfig
from pacofr.pretraining.losses import LossTerms
from pacofr.pretraining.model import PaCoFROutput

LOSSES = len(LossTerms._fields)


class Usage(NamedTuple):
    """How the candidates of the codebook were used."""

    entropy: float | None
    """Entropy of the chosen candidates over log n, mean over positions: 1 uniform, 0 always one;
    None for a codebook of one candidate."""
    dead_share: float
    """Share of all tokens that no masked patch chose."""


class StepNumbers(NamedTuple):
    """The same on every rank."""

    losses: LossTerms
    """Means over the global batch, on the CPU."""
    grad_norms: dict[str, float]
    """By part of the model."""
    grad_norm: float
    usage: Usage
    save: bool
    """Rank 0 asked for a checkpoint."""
    stop: bool
    """Some rank was asked to stop."""

    @property
    def finite(self) -> bool:
        """Whether this step may be applied."""
        return math.isfinite(float(self.losses.total)) and math.isfinite(self.grad_norm)


class Tally:
    """Collects one step on the device; `over_ranks` is the step's only synchronisation."""

    def __init__(self, config: PaCoFRConfig, world: World) -> None:
        self.config, self.world = config, world
        positions, candidates = config.encoder.patches, config.codebook.candidates
        self.losses = torch.zeros(LOSSES, device=world.device)
        self.counts = torch.zeros(positions * candidates, device=world.device)

    @torch.no_grad()
    def add(
        self, output: PaCoFROutput, mask: Bool[Tensor, "B K"], losses: LossTerms, weight: float
    ) -> None:
        """Add a micro-batch that is the share `weight` of the global batch.

        Usage counts what the predictor believes, also where incubation drops its choice.
        """
        self.losses += weight * torch.stack([term.detach().float() for term in losses])
        chosen = output.chosen if output.logits is None else output.logits.argmax(dim=-1)
        candidates = self.config.codebook.candidates
        first = torch.arange(mask.shape[1], device=mask.device) * candidates
        self.counts.scatter_add_(0, (first + chosen).flatten(), mask.float().flatten())

    def over_ranks(self, norms: GradientNorms, *, save: bool, stop: bool) -> StepNumbers:
        """Sum over ranks; `norms` are of synchronised gradients, hence equal everywhere."""
        names, parts = zip(*norms.parts, strict=True)
        length = torch.stack([norms.total, *parts]).to(self.losses)
        here = torch.cat([length, self.losses, self.counts]).cpu().double()  # waits for the device
        length, own = here[: 1 + len(parts)], here[1 + len(parts) :]
        flags = torch.tensor([save, stop], dtype=torch.float64)
        summed = sum_over_ranks(torch.cat([flags, own]), self.world)
        return StepNumbers(
            losses=LossTerms(*summed[2 : 2 + LOSSES]),
            grad_norms=dict(zip(names, length[1:].tolist(), strict=True)),
            grad_norm=float(length[0]),
            usage=self._usage(summed[2 + LOSSES :]),
            save=bool(summed[0] > 0),
            stop=bool(summed[1] > 0),
        )

    def _usage(self, counts: Float64[Tensor, " tokens"]) -> Usage:
        candidates = self.config.codebook.candidates
        table = counts.view(-1, candidates)
        tokens = table.sum(dim=0, keepdim=True) if self.config.codebook.shared else table
        dead = float((tokens == 0).double().mean())
        return Usage(usage_entropy(table), dead)


def usage_entropy(counts: Float[Tensor, "K n"] | Float64[Tensor, "K n"]) -> float | None:
    """Entropy of each row's shares over log n, mean over the rows that were used at all."""
    candidates = counts.shape[1]
    if candidates == 1:
        return None
    used = counts[counts.sum(dim=1) > 0]
    shares = used / used.sum(dim=1, keepdim=True)
    entropy = -torch.special.xlogy(shares, shares).sum(dim=1)
    return float(entropy.mean()) / math.log(candidates)
