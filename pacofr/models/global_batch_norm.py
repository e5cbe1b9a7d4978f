"""Batch normalisation over the global batch of data-parallel training, on any backend."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


class _AllReduceSum(torch.autograd.Function):
    """Sum over ranks whose gradient is summed over ranks too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of all ranks' images together.

    Ranks may have different numbers of images, but must run equally many forward passes. Like
    torch's SyncBatchNorm, which needs a GPU; statistics are combined in float64 (Chan et al. 1983).
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise by the global batch in training, by the running statistics otherwise."""
        if not self.training:
            return super().forward(input)
        images, channels = input.float(), input.shape[1]
        count = images.new_tensor([images.numel() // channels], dtype=torch.float64)
        variance, mean = torch.var_mean(images, dim=(0, 2, 3), correction=0)
        variance, mean = variance.double(), mean.double()
        own = torch.cat([count, count * mean, count * (variance + mean.square())])
        total = _AllReduceSum.apply(own)
        assert isinstance(total, Tensor)
        count = total[0].detach()
        mean = total[1 : 1 + channels] / count
        variance = total[1 + channels :] / count - mean.square()
        self._update_running(mean, variance * count / (count - 1))
        scale = torch.rsqrt(variance.float() + self.eps) * self.weight
        shift = self.bias - mean.float() * scale
        return (images * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)).to(input.dtype)

    @torch.no_grad()
    def _update_running(
        self, mean: Float[Tensor, " C"], unbiased_variance: Float[Tensor, " C"]
    ) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum or 0.0
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var), momentum)


class GlobalBatchNorm1d(GlobalBatchNorm2d):
    """The same of features without height and width."""

    def forward(self, input: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """Normalise by the global batch in training, by the running statistics otherwise."""
        return super().forward(input[:, :, None, None])[:, :, 0, 0]


_GLOBAL = {nn.BatchNorm1d: GlobalBatchNorm1d, nn.BatchNorm2d: GlobalBatchNorm2d}


def use_global_batch_norm(module: nn.Module) -> None:
    """Replace batch normalisation inside `module` by one over the global batch, weights kept."""
    for name, child in module.named_children():
        if type(child) in _GLOBAL:
            replacement = _GLOBAL[type(child)](child.num_features, child.eps, child.momentum)
            replacement.load_state_dict(child.state_dict())
            for key, parameter in child.named_parameters():
                getattr(replacement, key).requires_grad_(parameter.requires_grad)
            setattr(module, name, replacement.train(child.training))
        else:
            use_global_batch_norm(child)
