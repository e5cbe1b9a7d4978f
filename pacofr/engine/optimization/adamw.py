"""AdamW, its parameter groups, and the learning rate of every iteration (the recipe of MAE)."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pacofr.errors import UserError


def peak_learning_rate(base: float, batch: int) -> float:
    """Peak learning rate of a *global* batch: base * batch / 256."""
    return base * batch / 256


def learning_rate(
    at: float, *, peak: float, warm_up: float, total: float, floor: float = 0.0
) -> float:
    """Linear warm-up to `peak`, then a half cosine to `floor` (MAE's schedule).

    `at`, `warm_up` and `total` are in one unit of the caller's choice (iterations, or fractional
    epochs as MAE counts). A step uses the rate at its beginning: the first step has rate 0.
    """
    if at < warm_up:
        return peak * at / warm_up
    if at >= total:
        return floor
    angle = math.pi * (at - warm_up) / (total - warm_up)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(angle))


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    undecayed: Iterable[str] = (),
    lr_scales: Mapping[str, float] | None = None,
) -> list[dict]:
    """Groups: decayed, not decayed (1-D tensors, names that start with one of `undecayed`), each
    also by the learning rate's factor (`lr_scales`, by the start of the name)."""
    prefixes, scales = tuple(undecayed), lr_scales or {}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {
        (weight_decay, 1.0): [],
        (0.0, 1.0): [],
    }
    for name, parameter in model.named_parameters():
        exempt = parameter.ndim <= 1 or (prefixes and name.startswith(prefixes))
        scale = next((s for start, s in scales.items() if name.startswith(start)), 1.0)
        groups.setdefault((0.0 if exempt else weight_decay, scale), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), parameters in groups.items()
    ]


def make_adamw(
    model: nn.Module,
    *,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
    undecayed: Iterable[str] = (),
    lr_scales: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW over all parameters; those without a gradient (frozen ones) are not updated."""
    groups = parameter_groups(
        model, weight_decay=weight_decay, undecayed=undecayed, lr_scales=lr_scales
    )
    device = next(model.parameters()).device.type
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=device in ("cpu", "cuda"))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group: `rate`, times the group's "lr_scale" if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


class GradientNorms(NamedTuple):
    """L2 norms of the gradient, on the model's device: of everything, and of each child."""

    total: Tensor  # scalar
    parts: tuple[tuple[str, Tensor], ...]  # scalars by name of the child


def gradient_norms(model: nn.Module) -> GradientNorms:
    """L2 norms over all gradients and over each direct child that has some."""
    by_part: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            by_part.setdefault(name.partition(".")[0], []).append(parameter.grad)
    if not by_part:
        raise UserError("expected a model with something to train, got no gradient at all")
    parts = tuple((name, torch.nn.utils.get_total_norm(grads)) for name, grads in by_part.items())
    return GradientNorms(torch.linalg.vector_norm(torch.stack([norm for _, norm in parts])), parts)
