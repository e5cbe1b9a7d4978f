"""Exponential moving average of a model's weights."""

import copy

import torch
from torch import nn


class Ema:
    """Running mean of a model's weights and buffers, kept in a copy of the model.

    After update number t (from 0) the copy is d * copy + (1 - d) * model with
    d = min(decay, (1 + t) / (10 + t)), the warm-up of TensorFlow's ExponentialMovingAverage, so
    that the first steps do not hold the mean at the initial weights. Integer buffers are copied.

    Args:
        model: the trained model; its state now is the mean's start.
        decay: weight of the old value per step, after the warm-up.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's state after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        means, weights = [], []
        for mean, latest in pairs:
            if mean.is_floating_point():
                means.append(mean)
                weights.append(latest)
            else:
                mean.copy_(latest)
        torch._foreach_lerp_(means, weights, 1 - decay)  # a few kernels instead of one a tensor
        self.updates += 1
