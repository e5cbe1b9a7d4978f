"""What a training step measured, summed over micro-batches and ranks in one collective."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pacofr.engine.distributed import World, all_reduce_sum
from pacofr.engine.optimization.adamw import GradientNorms


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


class ReducedStep:
    """A step's sums over ranks, on the device and on their way to the host."""

    def __init__(
        self,
        values: Float[Tensor, " n"],
        loss_names: tuple[str, ...],
        part_names: tuple[str, ...],
    ) -> None:
        self._loss_names, self._part_names = loss_names, part_names
        self.finite: Bool[Tensor, ""] = (
            values[0].isfinite() & values[3 + len(part_names)].isfinite()
        )
        """`StepMetrics.finite`, on the device."""
        self._host, self._copied = values, None
        if values.is_cuda:
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> StepMetrics:
        """The numbers; waits for the device to have computed them."""
        if self._copied is not None:
            self._copied.synchronize()
        norm, *parts = self._host[: 1 + len(self._part_names)].tolist()
        save, stop, *losses = self._host[1 + len(parts) :][: 2 + len(self._loss_names)].tolist()
        return StepMetrics(
            losses=dict(zip(self._loss_names, losses, strict=True)),
            grad_norm=norm,
            grad_norms=dict(zip(self._part_names, parts, strict=True)),
            counts=self._host[3 + len(parts) + len(losses) :].double(),
            save=save > 0,
            stop=stop > 0,
        )


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

    def all_reduce(self, norms: GradientNorms, *, save: bool, stop: bool) -> ReducedStep:
        """Sum over ranks: the step's only collective beside the gradients'. Does not wait for CUDA.

        Args:
            norms: of gradients that are averaged over ranks already, hence equal everywhere.
            save: whether this rank asks for a checkpoint.
            stop: whether this rank was asked to stop.
        """
        names, parts = zip(*norms.parts, strict=True)
        on_cuda = self._sums.is_cuda
        flags = torch.tensor([save, stop]).to(self._sums, non_blocking=True)
        lengths = torch.stack([norms.total, *parts]).to(self._sums)
        values = torch.cat([lengths, flags, self._sums, self._counts])
        values = values.double() if on_cuda else values.cpu().double()
        all_reduce_sum(values[len(lengths) :], self.world)
        return ReducedStep(values, self._names, names)


def not_finite_line(
    step: int, metrics: StepMetrics, overflows: int | None, kept: str, rate_flag: str
) -> str:
    """The line that ends a run whose loss or gradient is not finite.

    Args:
        step: the last one.
        metrics: of it.
        overflows: steps in a row that overflowed float16; None in other types.
        kept: which checkpoint there is.
        rate_flag: the flag of the learning rate.
    """
    terms = ", ".join(f"{name} {value:.4g}" for name, value in metrics.losses.items())
    if overflows is not None:
        return (
            f"{overflows} steps in a row up to step {step} overflowed float16 ({terms}, gradient"
            f" norm {metrics.grad_norm:.4g}) and were not applied, though the loss's scale went"
            f" down each time; {kept}; give --precision bf16 or fp32, or a lower {rate_flag}, and"
            " another --out"
        )
    return (
        f"step {step} is not finite ({terms}, gradient norm {metrics.grad_norm:.4g}) and was not"
        f" applied; {kept}; lower {rate_flag} and start with another --out"
    )
