"""What a run carries from step to step, and how far it is."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pacofr.engine.optimization.ema import Ema
from pacofr.engine.optimization.loss_scale import LossScale

Json = Mapping[str, object]


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    """Optimiser steps done."""
    images: int
    """Images seen, over all ranks."""
    seconds: float
    """Spent in training steps, over all processes that took the run on one after the other."""
    world_size: int
    """Processes that wrote it."""


@dataclasses.dataclass
class TrainingState:
    """What a run carries from step to step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    progress: Progress
    loss_scale: LossScale | None = None


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state by "PARAMETER|KEY"."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = value
    return tensors
