"""A dynamic scale of the loss for float16 gradients (Micikevicius et al. 2018, section 3.2)."""

from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pacofr.engine.tensor_files import load_tensors
from pacofr.errors import UserError

INITIAL_SCALE = 2.0**16
GROWTH_STEPS = 2000
"""Steps without an overflow after which the scale doubles."""
MOST_OVERFLOWS = 25
"""Overflows in a row after which no smaller scale will help."""
OVERFLOWS_AT_THE_END = 2
"""Overflows in a row with which a run may end: more than a doubled scale costs means weights that
overflow at any scale."""


def most_overflows(at_the_end: bool) -> int:
    """Overflows in a row that a run survives, or may end with."""
    return OVERFLOWS_AT_THE_END if at_the_end else MOST_OVERFLOWS


class LossScale:
    """Halves at each overflow, doubles after `GROWTH_STEPS` steps without; lives on the device."""

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.tensor(INITIAL_SCALE, device=device)
        self.steps = torch.zeros((), device=device)
        """Steps since the scale changed."""

    def scaled(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The loss to call `backward` on."""
        return loss.float() * self.scale

    @torch.no_grad()
    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the gradients by the scale, in place; what overflowed stays infinite or NaN."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_mul_(gradients, self.scale.reciprocal())

    @torch.no_grad()
    def update(self, finite: Bool[Tensor, ""]) -> None:
        """Set the scale of the next step by whether this one's gradients are finite."""
        steps = self.steps + 1
        grow = steps >= GROWTH_STEPS
        grown = torch.where(grow, 2 * self.scale, self.scale)
        self.scale = torch.where(finite, grown, self.scale / 2)
        self.steps = torch.where(finite & ~grow, steps, torch.zeros_like(steps))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it."""
        return {"scale": self.scale, "steps": self.steps}

    def load(self, file: Path) -> None:
        """Restore `tensors` from the file that a checkpoint wrote them to.

        Raises:
            UserError: the file is damaged.
        """
        saved = load_tensors(file)
        scale, steps = saved.get("scale"), saved.get("steps")
        if scale is None or steps is None or scale.shape != () or steps.shape != ():
            raise UserError(f"{file}: expected the loss's scale and the steps since it changed")
        if not (0 < float(scale) < float("inf") and 0 <= float(steps) <= GROWTH_STEPS):
            raise UserError(f"{file}: expected a positive scale, got {float(scale)}")
        self.scale, self.steps = scale.to(self.scale), steps.to(self.steps)
