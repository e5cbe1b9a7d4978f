"""What a training step measured, summed over micro-batches and ranks in one collective."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pacofr.engine.distributed import World, all_reduce_sum
from pacofr.engine.optim import GradientNorms


class StepLoss(NamedTuple):
    """Loss of a micro-batch."""

    means: Mapping[str, Float[Tensor, ""]]
    """Means over the micro-batch by name; the first is minimised, the others are recorded."""
    counts: Float[Tensor, " c"] | None = None
    """Further numbers that are summed over the global batch."""


class StepMetrics(NamedTuple):
    """A step's measures, the same on every rank."""

    losses: dict[str, float]
    """Means over the global batch; the first is what was minimised."""
    grad_norm: float
    """L2 norm of the whole gradient, before clipping."""
    grad_norms: dict[str, float]
    """By part of the model."""
    counts: Float64[Tensor, " c"]
    """Sums over the global batch."""
    save: bool
    """Rank 0 asks for a checkpoint."""
    stop: bool
    """Some rank was asked to stop."""

    @property
    def finite(self) -> bool:
        """Whether this step may be applied."""
        return math.isfinite(next(iter(self.losses.values()))) and math.isfinite(self.grad_norm)


class StepAccumulator:
    """Collects the micro-batches of one step on the device."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._names: tuple[str, ...] = ()
        self._sums = torch.zeros(0, device=world.device)
        self._counts = torch.zeros(0, device=world.device)

    @torch.no_grad()
    def add(self, loss: StepLoss, weight: float) -> None:
        """Add a micro-batch that is the fraction `weight` of the global batch."""
        means = weight * torch.stack([mean.detach().float() for mean in loss.means.values()])
        counts = self._counts if loss.counts is None else loss.counts.float()
        if not self._names:
            self._names = tuple(loss.means)
            self._sums, self._counts = means, counts
        else:
            self._sums, self._counts = self._sums + means, self._counts + counts

    def all_reduce(self, norms: GradientNorms, *, save: bool, stop: bool) -> StepMetrics:
        """Sum over ranks, the step's only synchronisation.

        Args:
            norms: of gradients that are averaged over ranks already, hence equal everywhere.
            save: whether this rank asks for a checkpoint.
            stop: whether this rank was asked to stop.
        """
        names, parts = zip(*norms.parts, strict=True)
        lengths = torch.stack([norms.total, *parts]).to(self._sums)
        here = torch.cat([lengths, self._sums, self._counts]).cpu().double()  # waits for the device
        lengths, own = here[: 1 + len(parts)], here[1 + len(parts) :]
        flags = torch.tensor([save, stop], dtype=torch.float64)
        summed = all_reduce_sum(torch.cat([flags, own]), self.world)
        losses = summed[2 : 2 + len(self._names)].tolist()
        return StepMetrics(
            losses=dict(zip(self._names, losses, strict=True)),
            grad_norm=float(lengths[0]),
            grad_norms=dict(zip(names, lengths[1:].tolist(), strict=True)),
            counts=summed[2 + len(self._names) :],
            save=bool(summed[0] > 0),
            stop=bool(summed[1] > 0),
        )
